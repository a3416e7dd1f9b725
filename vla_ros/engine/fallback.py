"""Several engines for one graph: where the first fails, the next takes over."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vla_ros.core.errors import InferenceFailed
from vla_ros.engine.engine import Arrays, Engine, EngineDescription

_log = logging.getLogger(__name__)


class FallbackEngine:
    """Asks the first engine for every inference, and the next ones where it fails.

    All are loaded and warm, so that nothing has to be waited for. A change of the engine that
    answers is logged once, with the reason.
    """

    def __init__(self, engines: Sequence[Engine], left_out: Sequence[str] = ()) -> None:
        """Take the engines, the wanted one first, and why others could not be loaded."""
        self._engines = tuple(engines)
        self._left_out = "; ".join(left_out)
        self._names = tuple(engine.describe().backend for engine in engines)
        # a server that is not there yet has nothing to say of itself
        known = (index for index, each in enumerate(engines) if each.describe().inputs)
        self._answering = next(known, 0)
        self._reason = ""
        #: Inferences by the backend that made them.
        self.answered: Counter[str] = Counter()

    def describe(self) -> EngineDescription:
        """Return what answered last, and in the notes why it was not the wanted one."""
        description = self._engines[self._answering].describe()
        notes = dict(description.notes) | {
            f"answered_{name}": str(self.answered[name]) for name in self._names
        }
        if self._left_out:
            notes["left_out"] = self._left_out
        if self._reason:
            notes["fallback"] = self._reason
        return replace(description, notes=notes)

    def warm_up(self) -> None:
        """Warm all of them up."""
        for engine in self._engines:
            engine.warm_up()

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the outputs of the first engine that has any.

        Raises:
            ValueError: if an input is missing or malformed; names it.
            InferenceFailed: if all fail; says why of each.
        """
        reasons: list[str] = []
        for index, engine in enumerate(self._engines):
            try:
                found = engine.infer(inputs, outputs)
            except InferenceFailed as error:
                reasons.append(f"{self._names[index]}: {error.reason}")
                continue
            self._note(index, reasons)
            return found
        raise InferenceFailed("; ".join(reasons))

    def close(self) -> None:
        """Free all of them."""
        for engine in self._engines:
            engine.close()

    def _note(self, index: int, reasons: Sequence[str]) -> None:
        self.answered[self._names[index]] += 1
        self._reason = "; ".join(reasons)
        if index != self._answering:
            _log.warning(
                "%s answers%s", self._names[index], f" ({self._reason})" if reasons else " again"
            )
        self._answering = index
