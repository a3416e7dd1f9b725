"""What is known of the language that instructions are in; nothing, unless somebody says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from vla_ros.data.quality.summary import Summary

#: Returns what an instruction is about, such as {"colour": {"red"}, "shape": {"cube"}}.
Classify = Callable[[str], Mapping[str, Collection[str]]]


def classify_nothing(instruction: str) -> Mapping[str, Collection[str]]:
    """Return no classes."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """What is known of the language that instructions are in.

    Attributes:
        known: Words that are spelt right whatever a recording holds.
        classify: Says what an instruction is about.
    """

    known: frozenset[str] = field(default_factory=frozenset)
    classify: Classify = classify_nothing

    def count(self, episodes: Sequence[Summary]) -> dict[str, Counter[str]]:
        """Return in how many episodes each class occurs, by kind: `colour`, `shape` ..."""
        counts: dict[str, Counter[str]] = {}
        for item in episodes:
            for kind, names in self.classify(item.instruction).items():
                counts.setdefault(kind, Counter()).update(names)
        return counts
