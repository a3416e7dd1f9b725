"""What a policy is told of the joints: where they are, how fast, and how far they lag behind."""

from __future__ import annotations

from collections import deque

import numpy as np

from vla_ros.core.errors import ObservationError
from vla_ros.core.types import Float32Array, Observation

#: The velocity that a policy sees is taken over this time [s].
VELOCITY_SPAN_S = 0.05
#: Over less or more than this it is none [s].
SHORTEST_S, LONGEST_S = 0.02, 0.15


class JointHistory:
    """Joint states of the last observations, from which velocities are told."""

    def __init__(self, n_joints: int) -> None:
        """Begin with none."""
        self._n_joints = n_joints
        self._seen: deque[tuple[int, Float32Array]] = deque(maxlen=8)

    def read(self, observation: Observation) -> Float32Array:
        """Take note of an observation, and return its joints as a policy is told of them.

        Returns:
            Positions [rad], velocities [rad/s] (0 where nothing was seen shortly before) and the
            lead of the command in force over the positions [rad], shape (1, 3 n).

        Raises:
            ObservationError: if a position is not finite, or there is another number of them.
        """
        positions = self._finite(observation.state, "state")
        now = observation.stamp_ns
        if self._seen and now < self._seen[-1][0]:
            self._seen.clear()  # time was set back: a simulation began anew
        past = [
            (age_s, before)
            for stamp, before in self._seen
            if SHORTEST_S <= (age_s := (now - stamp) * 1e-9) <= LONGEST_S
        ]
        velocity = np.zeros_like(positions)
        if past:
            age_s, before = min(past, key=lambda entry: abs(entry[0] - VELOCITY_SPAN_S))
            velocity = (positions - before) / np.float32(age_s)
        self._seen.append((now, positions))
        lead = np.zeros_like(positions)
        if observation.command is not None:
            lead = self._finite(observation.command, "command") - positions
        return np.concatenate([positions, velocity, lead])[None].astype(np.float32)

    def _finite(self, value: Float32Array, what: str) -> Float32Array:
        positions = np.asarray(value, np.float32)
        if positions.shape != (self._n_joints,) or not np.isfinite(positions).all():
            raise ObservationError(
                f"observation.{what}",
                f"expected {self._n_joints} finite positions, got {positions}",
            )
        return positions
