"""The values that travel between the layers: observations and action chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ActionChunk:
    """Future joint targets, made from one observation.

    Row `k` is the target at `stamp_ns + (k + 1) * step_s`.

    Attributes:
        stamp_ns: Stamp of the observation in [ns].
        step_s: Time between two rows in [s].
        joint_names: Joint of each column.
        positions: Absolute joint targets in [rad] ([m] for prismatic joints),
            shape (horizon, n_joints).
        progress: How far the policy believes the task is, 0 to 1.
        instruction: Instruction that the chunk was made for.
        grounding: How likely it is that what the instruction names is there, 0 to 1; 1 where the
            policy cannot tell.
    """

    stamp_ns: int
    step_s: float
    joint_names: tuple[str, ...]
    positions: FloatArray
    progress: float = 0.0
    instruction: str = ""
    grounding: float = 1.0

    @property
    def horizon(self) -> int:
        """Number of rows."""
        return int(self.positions.shape[0]) if self.positions.ndim else 0

    @property
    def end_ns(self) -> int:
        """Time of the last row in [ns]."""
        return self.stamp_ns + round(self.horizon * self.step_s * 1e9)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChunkPrefix:
    """How a chunk begins that has been decided already; row `k` has the time of a chunk's.

    Attributes:
        positions: Absolute joint targets in [rad], shape (horizon, n_joints); anything finite in
            rows that are neither heeded nor known.
        weight: How much the new chunk is pulled to each row, 0 to 1, shape (horizon,).
        known: So many rows are given: the new chunk has them as they are.
    """

    positions: FloatArray
    weight: FloatArray
    known: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observation:
    """What the robot sensed at one time. A missing optional modality is absent, never zero-filled.

    Attributes:
        stamp_ns: Time of the observation in [ns].
        images: Camera name to RGB image, uint8, shape (height, width, 3).
        depths: Camera name to depth in [m], float32, shape (height, width); 0 or NaN is a hole.
        imu: Window of gyro xyz [rad/s] and accel xyz [m/s^2], oldest first, shape (T, 6), or None.
        state: Measured joint positions in [rad], shape (n_joints,).
        command: Joint positions commanded last in [rad], shape (n_joints,); None before any.
    """

    stamp_ns: int
    state: Float32Array
    command: Float32Array | None = None
    images: Mapping[str, UInt8Array] = field(default_factory=dict)
    depths: Mapping[str, Float32Array] = field(default_factory=dict)
    imu: Float32Array | None = None
