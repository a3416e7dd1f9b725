"""Which chunks the gate takes."""

from __future__ import annotations

import numpy as np

from vla_ros.core.errors import ChunkRejected
from vla_ros.core.limits import JointLimits
from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.safety.gate_config import GateConfig


def admit(
    chunk: ActionChunk,
    *,
    now_ns: int,
    command: FloatArray,
    newest_ns: int | None,
    limits: JointLimits,
    config: GateConfig,
) -> FloatArray:
    """Return the chunk's rows in the order of the limits, in [rad], shape (horizon, n).

    Rows beyond the position limits are moved to the limit.

    Args:
        chunk: What the policy sent.
        now_ns: Present time in [ns].
        command: Last command in [rad], shape (n,).
        newest_ns: Chunks with an older stamp are out of date, in [ns]; None if any will do.
        limits: Joint limits.
        config: What is tolerated.

    Raises:
        ChunkRejected: with the reason.
    """
    _check_form(chunk, limits, config)
    _check_time(chunk, now_ns, newest_ns, config)
    columns = [chunk.joint_names.index(name) for name in limits.names]
    rows = np.clip(chunk.positions[:, columns], limits.lower, limits.upper)
    ahead = int((now_ns - chunk.stamp_ns) * 1e-9 / chunk.step_s)
    first = rows[min(max(ahead, 0), chunk.horizon - 1)]
    room = limits.velocity * config.max_jump_s
    near = np.abs(first - command) <= room
    if not near.all():
        index = int(np.argmin(near))
        raise ChunkRejected(
            f"{limits.names[index]}: the chunk begins at {first[index]:.3f} rad, the command is"
            f" {command[index]:.3f} rad, and at most {room[index]:.3f} rad apart is allowed"
        )
    return np.asarray(rows)


def _check_form(chunk: ActionChunk, limits: JointLimits, config: GateConfig) -> None:
    if sorted(chunk.joint_names) != sorted(limits.names):
        raise ChunkRejected(
            f"joints: expected {', '.join(limits.names)},"
            f" got {', '.join(chunk.joint_names) or 'none'}"
        )
    shape = chunk.positions.shape
    if len(shape) != 2 or shape[0] < 1 or shape[1] != limits.size:
        raise ChunkRejected(
            f"positions: expected one row or more of {limits.size} joints, got shape {shape}"
        )
    if not config.min_step_s <= chunk.step_s < np.inf:  # false for NaN
        raise ChunkRejected(
            f"step_s: expected {config.min_step_s:g} s or more, got {chunk.step_s:g}"
        )
    if chunk.horizon * chunk.step_s > config.max_chunk_s:
        raise ChunkRejected(
            f"step_s: {chunk.horizon} rows of {chunk.step_s:g} s are more than the"
            f" {config.max_chunk_s:g} s that a chunk may last"
        )
    finite = np.isfinite(chunk.positions)
    if not finite.all():
        row, column = (int(i[0]) for i in np.nonzero(~finite))
        raise ChunkRejected(
            f"{chunk.joint_names[column]}: row {row} is not finite"
            f" ({chunk.positions[row, column]})"
        )


def _check_time(
    chunk: ActionChunk, now_ns: int, newest_ns: int | None, config: GateConfig
) -> None:
    age_s = (now_ns - chunk.stamp_ns) * 1e-9
    if age_s > config.max_chunk_age_s:
        raise ChunkRejected(
            f"the chunk is stale: {age_s:.3f} s old,"
            f" at most {config.max_chunk_age_s:.3f} s is allowed"
        )
    if -age_s > config.max_chunk_lead_s:
        raise ChunkRejected(
            f"the chunk is from the future: {-age_s:.3f} s ahead, at most"
            f" {config.max_chunk_lead_s:.3f} s is allowed; do the clocks agree?"
        )
    if chunk.end_ns <= now_ns:
        raise ChunkRejected(f"the chunk ended {(now_ns - chunk.end_ns) * 1e-9:.3f} s ago")
    if newest_ns is not None and chunk.stamp_ns < newest_ns:
        raise ChunkRejected(
            f"the chunk is out of date: made {(newest_ns - chunk.stamp_ns) * 1e-9:.3f}"
            " s before the newest chunk or the last reset"
        )
