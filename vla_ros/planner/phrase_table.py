"""Phrases and the names of what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vla_ros.planner.spelling import Spelling


class PhraseTable(dict[str, str]):
    """Phrase -> canonical name, such as "crimson" -> "red"; finds the phrases in a text."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """Take phrases, and the name of what each one means; nothing may be added later."""
        super().__init__(names)
        self._spelling = Spelling(names)

    def mentions(self, text: str, words: Sequence[str]) -> list[tuple[str, str]]:
        """Return (phrase, name) of the phrases in a text, plurals too.

        Args:
            text: Lower-case words with a space around each.
            words: Those that may be a phrase of one word with a typing error.
        """
        found = [(p, name) for p, name in self.items() if f" {p} " in text or f" {p}s " in text]
        for word in words:
            found += [(phrase, self[phrase]) for phrase in self._spelling.meant(word)]
        return found

    def found(self, text: str, words: Sequence[str]) -> frozenset[str]:
        """Return the names of what a text mentions; see `mentions`."""
        return frozenset(name for _, name in self.mentions(text, words))
