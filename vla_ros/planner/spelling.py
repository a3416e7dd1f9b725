"""Finds the word that is meant by one with a typing error."""

from __future__ import annotations

from collections.abc import Iterable

#: Words of at least this many letters are also found with one typing error, shorter
#: ones only with two letters swapped or one doubled: too many of them differ by one letter.
SHORTEST_FUZZY = 5


class Spelling:
    """Knows words, and finds them when a letter is missing, added, wrong or swapped with the next.

    Two words that differ by no more than that have a word in common that is one letter shorter
    than the longer of them; that is what is looked up.
    """

    def __init__(self, words: Iterable[str], shortest_fuzzy: int = SHORTEST_FUZZY) -> None:
        """Learn `words`; those of `shortest_fuzzy` letters or more are found with any error."""
        self._words = frozenset(word for word in words if " " not in word)
        self._shortest_fuzzy = shortest_fuzzy
        self._by_shorter: dict[str, set[str]] = {}
        for word in self._words:
            if len(word) >= shortest_fuzzy:
                for shorter in (word, *_shorter(word)):
                    self._by_shorter.setdefault(shorter, set()).add(word)

    def meant(self, word: str) -> set[str]:
        """Return the known words that `word` may stand for; itself if it is known."""
        if word in self._words:
            return {word}
        if len(word) < self._shortest_fuzzy - 1:
            return set()
        looked_up = (self._by_shorter.get(shorter, ()) for shorter in (word, *_shorter(word)))
        near = {known for some in looked_up for known in some if _differ_by_one(word, known)}
        return near | (_slips(word) & self._words)


def _shorter(word: str) -> set[str]:
    return {word[:i] + word[i + 1 :] for i in range(len(word))}


def _differ_by_one(one: str, other: str) -> bool:
    """Return whether one letter is missing, added or wrong, or two neighbours are swapped."""
    pairs = enumerate(zip(one, other, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
    a, b = one[same:], other[same:]
    swapped = a[:2] == b[1::-1] and a[2:] == b[2:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or swapped


def _slips(word: str) -> set[str]:
    """Return what `word` may be with two letters swapped or one doubled."""
    swapped = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
    return swapped | {
        word[:i] + word[i + 1 :] for i in range(len(word) - 1) if word[i] == word[i + 1]
    }
