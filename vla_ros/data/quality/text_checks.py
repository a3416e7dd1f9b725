"""Checks of instructions: missing, two of them, misspelt."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.signals import Signals
from vla_ros.data.quality.summary import Summary
from vla_ros.data.quality.thresholds import Thresholds

#: Shorter words differ from too many others by one letter.
SHORTEST = 4


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters."""
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", text.lower())


def check_instruction(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find episodes without an instruction, or whose instruction is not the one that was given."""
    written = signals.episode.instruction.strip()
    given = [text.strip() for _, text in signals.instructions if text.strip()]
    if not written:
        said = f"; said was '{given[0]}'" if given else ""
        yield Finding(
            check="instruction",
            severity=Severity.WARNING,
            expected="an instruction in episode.json",
            got=f"none{said}",
            remedy="Label the episode with what was to be done.",
        )
    elif given and written not in given:
        yield Finding(
            check="instruction",
            severity=Severity.WARNING,
            topic="/vla/instruction",
            expected=f"'{written}', as episode.json says",
            got=f"'{given[0]}'",
            remedy="Label the episode with what was really to be done.",
        )


@dataclass(frozen=True, slots=True)
class SpellingCheck:
    """Finds words with a typing error: rare, unknown, one slip away from one that is known.

    Attributes:
        known: Words that are spelt right whatever the recording holds.
    """

    known: frozenset[str] = field(default_factory=frozenset)

    def __call__(self, episodes: Sequence[Summary], thresholds: Thresholds) -> Iterator[Finding]:
        """Yield one finding per episode and word."""
        texts = [set(words_of(item.instruction)) for item in episodes]
        counts = Counter(word for words in texts for word in words)
        frequent = {word for word, count in counts.items() if count >= thresholds.frequent_word}
        good = self.known | frequent
        nearest = {
            word: near
            for word in counts
            if len(word) >= SHORTEST and word not in good
            if (near := _nearest(word, good, counts)) is not None
        }
        for item, words in zip(episodes, texts, strict=True):
            for word in sorted(words & nearest.keys()):
                yield Finding(
                    check="typo",
                    severity=Severity.WARNING,
                    episode=item.name,
                    topic="/vla/instruction",
                    expected=f"'{nearest[word]}'",
                    got=f"'{word}' in '{item.instruction}'",
                    remedy="Correct the instruction, or make the word known (--words).",
                )


def one_slip_apart(one: str, other: str) -> bool:
    """Return whether one letter is missing, added or wrong, or two neighbours are swapped."""
    pairs = enumerate(zip(one, other, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
    a, b = one[same:], other[same:]
    swapped = len(a) > 1 and a[:2] == b[1::-1] and a[2:] == b[2:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or swapped


def _nearest(word: str, good: Iterable[str], counts: Counter[str]) -> str | None:
    near = [
        other
        for other in good
        if len(other) >= SHORTEST and abs(len(word) - len(other)) <= 1
        if one_slip_apart(word, other) and not _inflected(word, other)
    ]
    return max(near, key=lambda other: (counts[other], other), default=None)


def _inflected(one: str, other: str) -> bool:
    """Return whether one is the other with an ending: "cubes", "placed"."""
    long, short = sorted((one, other), key=len, reverse=True)
    return long in (f"{short}s", f"{short}d", f"{short}'s")
