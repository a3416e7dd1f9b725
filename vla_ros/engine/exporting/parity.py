"""How far the outputs of an engine are from those of torch, on recorded observations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import Arrays, Engine
from vla_ros.engine.exporting.precisions import TOLERANCES, Tolerance

#: Differences up to this are none, also where all values are so small that they bend the cosine.
NEGLIGIBLE = 1e-6
#: Outputs of the grounding that list regions, and on which axis.
_REGIONS, _BY_REGION = "regions", {"regions": 1, "embedding": 1, "similarity": 2, "pointers": 2}
#: Output with xyz and confidence of what is seen, in its last axis.
_POINTS = "points"
#: Columns of a region: presence, and where its pixel begins.
_PRESENCE, _PIXEL = 3, 4


class ParityError(EngineError):
    """A graph that was made does not compute what torch does; names the worst output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorParity:
    """How far one output is from torch's.

    Attributes:
        output: Its name.
        max_error: Largest difference; infinite if a value is not finite.
        mean_error: Mean difference.
        cosine: Of all values as one vector.
        scale: Largest value of torch.
    """

    output: str
    max_error: float
    mean_error: float
    cosine: float
    scale: float

    def excess(self, tolerance: Tolerance) -> float:
        """Return by what factor the tolerance is used up; above 1 it is exceeded."""
        scale = max(1.0, self.scale)
        used = [self.mean_error / scale / tolerance.mean]
        if not self.max_error <= NEGLIGIBLE:
            used.append(_bend(self.cosine, tolerance.cosine))
        if tolerance.largest is not None:
            used.append(self.max_error / scale / tolerance.largest)
        return math.inf if any(math.isnan(each) for each in used) else max(used)


class _Sums:
    """Adds up what parity needs, so that no output has to be kept."""

    def __init__(self) -> None:
        self.largest = self.total = self.scale = 0.0
        self.dot = self.expected = self.found = 0.0
        self.count = 0

    def add(self, expected: NDArray[Any], found: NDArray[Any]) -> None:
        a, b = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
        apart = np.abs(a - b)
        finite = np.isfinite(a)
        if not (finite.all() and np.isfinite(b).all()):
            apart = np.full_like(a, math.inf)
        self.largest = max(self.largest, float(apart.max(initial=0.0)))
        self.scale = max(self.scale, float(np.abs(a[finite]).max(initial=0.0)))
        self.total += float(apart.sum())
        self.count += a.size
        self.dot, self.expected = self.dot + float(a @ b), self.expected + float(a @ a)
        self.found += float(b @ b)

    def finish(self, output: str) -> TensorParity:
        length = math.sqrt(self.expected * self.found)
        same = 1.0 if self.expected == self.found == 0.0 else 0.0
        return TensorParity(
            output=output,
            max_error=self.largest,
            mean_error=self.total / max(1, self.count),
            cosine=self.dot / length if length > 0 else same,
            scale=self.scale,
        )


def compare(
    reference: Engine, engine: Engine, rows: Iterable[Arrays], *, exact: bool = False
) -> list[TensorParity]:
    """Return how far each output of an engine is from the reference's.

    Positions of points are compared times their confidence, as the policy reads them: what is not
    seen has no position, and where a confidence rounds to 0 or to 1e-20 decides which one it gets.

    Args:
        reference: Torch.
        engine: What was made.
        rows: Inputs (1, ...) by name.
        exact: Whether regions have to come in the same order too. They are a set, sorted by how
            high their peaks are, and two peaks of nearly the same height may change places.
    """
    names = [spec.name for spec in engine.describe().outputs]
    sums = {name: _Sums() for name in names}
    for row in rows:
        expected = reference.infer(row)
        found = engine.infer(row)
        if _POINTS in found:
            expected, found = _as_far_as_seen(expected), _as_far_as_seen(found)
        if _REGIONS in found and not exact:
            expected, found = _same_regions(expected, found)
        for name in names:
            sums[name].add(expected[name], found[name])
    return [sums[name].finish(name) for name in names]


def require_parity(graph: str, found: Sequence[TensorParity], precision: str) -> None:
    """Refuse a graph whose outputs are too far from torch's.

    Raises:
        ParityError: names the worst output, by how much it is off, and what is allowed.
    """
    tolerance = TOLERANCES[precision]
    worst = max(found, key=lambda each: each.excess(tolerance))
    if not worst.excess(tolerance) <= 1.0:
        largest = f"largest {tolerance.largest:.2g}, " if tolerance.largest is not None else ""
        raise ParityError(
            f"{graph} in {precision} is not what torch computes; worst output '{worst.output}': "
            f"largest difference {worst.max_error:.3g}, mean {worst.mean_error:.3g}, cosine "
            f"{worst.cosine:.5f}, with values up to {worst.scale:.3g}. Allowed: {largest}mean "
            f"{tolerance.mean:.2g} (shares of the largest value if that is above 1), cosine "
            f"{tolerance.cosine}. Nothing was written; take a finer precision, or record more "
            "observations to calibrate with"
        )


def _bend(cosine: float, least: float) -> float:
    """Return how much of the room below a cosine of 1 is used up."""
    return (1.0 - cosine) / (1.0 - least)


def _as_far_as_seen(outputs: Arrays) -> dict[str, Any]:
    """Return outputs with the positions of points times their confidence."""
    points = outputs[_POINTS]
    confidence = points[..., 3:]
    return {**outputs, _POINTS: np.concatenate([points[..., :3] * confidence, confidence], -1)}


def _same_regions(expected: Arrays, found: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both with regions in torch's order, and those alone that either says are there."""
    theirs, ours = expected[_REGIONS][0], found[_REGIONS][0]
    apart = np.linalg.norm(theirs[:, None, _PIXEL:] - ours[None, :, _PIXEL:], axis=-1)
    there = theirs[:, _PRESENCE] > 0, ours[:, _PRESENCE] > 0
    apart = apart + 1e6 * (there[0][:, None] != there[1][None])
    order = np.full(len(theirs), -1)
    for place in np.argsort(apart, axis=None):
        row, column = divmod(int(place), len(ours))
        if order[row] < 0 and column not in order:
            order[row] = column
    kept = there[0] | there[1][order]
    picked: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for result, values, rows in (
        (picked[0], expected, np.flatnonzero(kept)),
        (picked[1], found, order[kept]),
    ):
        for name, value in values.items():
            axis = _BY_REGION.get(name)
            if name == "pointers":  # the last one points at none of them
                rows_and_none = [*rows, value.shape[2] - 1]
                result[name] = value.take(rows_and_none, axis=2)
            else:
                result[name] = value if axis is None else value.take(rows, axis=axis)
    return picked
