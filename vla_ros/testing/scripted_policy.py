"""A policy that follows a given path, and refuses what no policy should be given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from vla_ros.contract import RobotContract
from vla_ros.core.errors import DefectError, InstructionRejected
from vla_ros.core.types import ActionChunk, FloatArray, Observation
from vla_ros.testing.observations import check_observation


class ScriptedPolicy:
    """Follows `path` from the first observation after each start; checks every call.

    Attributes:
        instructions: Every instruction it was started with.
        inferences: Number of chunks it made.
    """

    def __init__(
        self,
        contract: RobotContract,
        path: Callable[[float], FloatArray],
        *,
        duration_s: float = 3.0,
        horizon: int = 12,
        step_s: float = 0.05,
    ) -> None:
        """Prepare to follow a path.

        Args:
            contract: Robot that it serves.
            path: Joint positions in [rad], shape (n,), at a time since the first observation [s].
            duration_s: Time after which it reports a progress of 1, in [s].
            horizon: Rows of a chunk.
            step_s: Time between rows in [s].
        """
        self._contract = contract
        self._path = path
        self._duration_s = duration_s
        self._times = step_s * np.arange(1, horizon + 1)
        self._step_s = step_s
        self._began_ns: int | None = None
        self._last_ns = -1
        self.instructions: list[str] = []
        self.inferences = 0

    @property
    def name(self) -> str:
        """Name of the policy."""
        return "scripted"

    @property
    def bundle_sha256(self) -> str:
        """Hash of the contract that it was made for: there is no bundle."""
        return hashlib.sha256(self._contract.sha256.encode()).hexdigest()

    def start(self, instruction: str) -> None:
        """Begin the path anew with the next observation.

        Raises:
            InstructionRejected: if the instruction is empty.
        """
        if not instruction.strip():
            raise InstructionRejected("the instruction is empty; say what the arm should do")
        self.instructions.append(instruction)
        self._began_ns = None
        self._last_ns = -1

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the path ahead of the observation.

        Raises:
            ObservationError: if the observation does not fit the contract.
            DefectError: if there was no start, or the observation is not newer than the last.
        """
        check_observation(self._contract, observation)
        if not self.instructions:
            raise DefectError("infer was called before start")
        if observation.stamp_ns < self._last_ns:
            raise DefectError(f"observation {observation.stamp_ns} after {self._last_ns}")
        self._last_ns = observation.stamp_ns
        if self._began_ns is None:
            self._began_ns = observation.stamp_ns
        elapsed_s = (observation.stamp_ns - self._began_ns) * 1e-9
        self.inferences += 1
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=self._step_s,
            joint_names=self._contract.action.joints,
            positions=np.array([self._path(float(elapsed_s + t)) for t in self._times]),
            progress=min(1.0, elapsed_s / self._duration_s),
            instruction=self.instructions[-1],
        )
