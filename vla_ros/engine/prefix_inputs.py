"""What a graph is told of the chunk that it is to go on from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.types import ChunkPrefix
from vla_ros.engine.engine import Engine

Float32Array = NDArray[np.float32]


def prefix_parts(engine: Engine) -> tuple[str, ...]:
    """Return what of a prefix a graph takes beside its rows: the weights, how many are known."""
    taken = {spec.name for spec in engine.describe().inputs}
    return tuple(name for name in ("prefix_weight", "prefix_known") if name in taken)


def prefix_inputs(
    parts: tuple[str, ...], prefix: ChunkPrefix | None, shape: tuple[int, int]
) -> dict[str, Float32Array]:
    """Return a graph's inputs for a prefix; None tells it to decide anew.

    Args:
        parts: As `prefix_parts` gives them; for none, nothing comes back.
        prefix: What the chunk is to go on from.
        shape: Of a chunk (horizon, n_joints).

    Raises:
        ValueError: if the prefix has another shape, is not finite, or says what the graph does not
            take.
    """
    if prefix is None:
        prefix = ChunkPrefix(positions=np.zeros(shape), weight=np.zeros(shape[0]))
    for name, value, wanted in (
        ("positions", prefix.positions, shape),
        ("weight", prefix.weight, shape[:1]),
    ):
        if value.shape != wanted or not np.isfinite(value).all():
            raise ValueError(
                f"prefix: {name}: expected finite values of shape {wanted}, got {value.shape}"
            )
    if not 0 <= prefix.known < shape[0]:
        raise ValueError(f"prefix: {prefix.known} of {shape[0]} rows are known; one is to decide")
    told = {"prefix_weight": bool(prefix.weight.any()), "prefix_known": prefix.known > 0}
    for name, said in told.items():
        if said and name not in parts:
            raise ValueError(f"prefix: the graph does not take {name}")
    if not parts:
        return {}
    known = np.arange(shape[0]) < prefix.known
    values = {"prefix_weight": prefix.weight, "prefix_known": known}
    inputs = {"prefix": prefix.positions, **{name: values[name] for name in parts}}
    return {name: value[None].astype(np.float32) for name, value in inputs.items()}
