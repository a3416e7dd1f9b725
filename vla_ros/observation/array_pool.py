"""Arrays that are used again once nobody holds them: a steady stream of images needs no new ones.

Who may write into an array is decided by who holds it, and nothing else. An observation that a
recorder, a picture for people or a waiting thread still holds keeps its arrays, for however long;
the next one is written into others.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: Arrays of one shape that are kept; whoever holds more gets arrays that are not used again.
KEPT = 8


def _references(arrays: Sequence[NDArray[Any]], index: int) -> int:
    """Return how many references to an array there are, in whatever way the interpreter counts."""
    return sys.getrefcount(arrays[index])


_UNHELD = _references([np.empty(0)], 0)


class ArrayPool:
    """Gives arrays of a wanted shape. One thread takes; any thread may hold, or let go.

    A view counts as a reference to its array, so an array is held as long as anything reads its
    memory through numpy or the buffer protocol. Memory that something reads by address alone, as
    a backend does while it infers, is safe as long as its caller holds the array.

    Attributes:
        made: Arrays that had to be made; stands still in steady state.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._kept: dict[tuple[tuple[int, ...], np.dtype[Any]], list[NDArray[Any]]] = defaultdict(
            list
        )
        self.made = 0

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array that nobody else holds, with anything in it."""
        kind = np.dtype(dtype)
        kept = self._kept[shape, kind]
        for index in range(len(kept)):
            if _references(kept, index) == _UNHELD:
                return kept[index]
        self.made += 1
        array = np.empty(shape, kind)
        if len(kept) < KEPT:
            kept.append(array)
        return array
