"""Checks arrays against what a graph takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vla_ros.engine.engine import Arrays, TensorSpec


def checked_inputs(specs: Iterable[TensorSpec], inputs: Arrays) -> dict[str, NDArray[np.generic]]:
    """Return the inputs that a graph takes, contiguous, without a copy of those that are.

    Raises:
        ValueError: if one is missing, or has another shape or type; names it.
    """
    found: dict[str, NDArray[np.generic]] = {}
    for spec in specs:
        if spec.name not in inputs:
            raise ValueError(f"input {spec.name!r} is missing; there are {', '.join(inputs)}")
        value = inputs[spec.name]
        if value.dtype.name != spec.dtype or not _fits(value.shape, spec.shape):
            raise ValueError(
                f"input {spec.name!r}: expected {spec.dtype} of shape {spec.shape}, "
                f"got {value.dtype} of shape {value.shape}"
            )
        found[spec.name] = np.asarray(value, order="C")
    return found


def require_outputs(specs: Sequence[TensorSpec], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the outputs that are wanted; None wants all.

    Raises:
        ValueError: if the graph has no such output; lists those it has.
    """
    names = tuple(spec.name for spec in specs)
    for name in wanted or ():
        if name not in names:
            raise ValueError(f"output {name!r} does not exist; there are {', '.join(names)}")
    return names if wanted is None else tuple(wanted)


def example_inputs(specs: Iterable[TensorSpec], batch: int = 1) -> dict[str, NDArray[np.generic]]:
    """Return inputs of zeros, to warm up with; open dimensions have the length `batch`."""
    return {
        spec.name: np.zeros(
            [size if isinstance(size, int) else batch for size in spec.shape], spec.dtype
        )
        for spec in specs
    }


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        isinstance(length, str) or size == length
        for size, length in zip(shape, wanted, strict=True)
    )
