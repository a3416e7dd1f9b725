"""A policy that needs no bundle: it sways the arm, and checks what it is given."""

from __future__ import annotations

import numpy as np

from vla_ros.contract import RobotContract
from vla_ros.core.errors import InstructionRejected, ObservationError
from vla_ros.core.types import ActionChunk, Observation, UInt8Array

STEP_S, HORIZON = 0.05, 12
#: The arm sways about where it was at the start by this much [rad], at this rate [Hz].
AMPLITUDE_RAD, RATE_HZ = 0.2, 0.2
#: The task counts as done after this long [s].
DURATION_S = 5.0


class SwayingPolicy:
    """Sways the first joint; reports progress that reaches 1 after five seconds.

    It refuses an instruction with the word "refuse" in it, never finishes one with "forever", and
    does not see what one with "lost" in it names.
    """

    def __init__(self, contract: RobotContract) -> None:
        """Take the joints and cameras from `contract`."""
        self._joints = contract.action.joints
        self._cameras = {
            item.feature.rsplit(".", 1)[1]: (item.height, item.width)
            for item in contract.observations
            if item.feature.startswith("observation.images.") and item.required
        }
        self._instruction = ""
        self._began_ns: int | None = None

    @property
    def name(self) -> str:
        """Name of the policy."""
        return "swaying"

    @property
    def bundle_sha256(self) -> str:
        """There is no bundle."""
        return "0" * 64

    def start(self, instruction: str) -> None:
        """Begin anew."""
        if "refuse" in instruction:
            raise InstructionRejected("the swaying policy was told to refuse this")
        self._instruction = instruction
        self._began_ns = None

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the next 0.6 s of the sway."""
        for camera, size in self._cameras.items():
            image = observation.images.get(camera)
            if image is None or image.shape != (*size, 3) or image.dtype != np.uint8:
                raise ObservationError(f"observation.images.{camera}", f"expected uint8 {size}")
        if observation.state.shape != (len(self._joints),):
            raise ObservationError("observation.state", f"got {observation.state.shape}")
        if self._began_ns is None:
            self._began_ns = observation.stamp_ns
            self._centre = observation.state.astype(np.float64)
        elapsed_s = (observation.stamp_ns - self._began_ns) * 1e-9
        times_s = elapsed_s + STEP_S * np.arange(1, HORIZON + 1)
        positions = np.repeat(self._centre[None], HORIZON, axis=0)
        positions[:, 0] += AMPLITUDE_RAD * np.sin(2 * np.pi * RATE_HZ * times_s)
        endless = "forever" in self._instruction
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=STEP_S,
            joint_names=self._joints,
            positions=positions,
            progress=0.0 if endless else min(1.0, elapsed_s / DURATION_S),
            instruction=self._instruction,
            grounding=0.0 if "lost" in self._instruction else 1.0,
        )

    def draw_attention(self, observation: Observation, camera: str) -> UInt8Array | None:
        """Return a camera's image as it came: the policy looks at nothing in it."""
        return observation.images.get(camera)


def open_policy(bundle: str, contract: RobotContract, choice: object) -> SwayingPolicy:
    """Return the policy; `bundle` and `choice` of engines mean nothing to it."""
    return SwayingPolicy(contract)
