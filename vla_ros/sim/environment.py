"""The tabletop as an environment: gate, limits and timing of a robot, in simulated time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from vla_ros.contract.loading import load_contract
from vla_ros.contract.specs import RobotContract
from vla_ros.core.conventions import IMU_WINDOW
from vla_ros.core.errors import ChunkRejected
from vla_ros.core.types import ActionChunk, FloatArray, Observation
from vla_ros.safety.gate_making import make_checker, make_gate
from vla_ros.safety.limit_checker import Violation
from vla_ros.sim.model import CAMERAS, JOINTS
from vla_ros.sim.scenes import Scene
from vla_ros.sim.tabletop import CONTROL_STEP_S, IMAGE_SIZE, Tabletop
from vla_ros.sim.tasks import Score

#: Between two observations [s].
STEP_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySpec:
    """Shape, type and unit of an array."""

    shape: tuple[int, ...]
    dtype: type[np.generic]
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeStep:
    """What `reset` and `step` return.

    Attributes:
        observation: What the robot senses.
        score: Of the task so far; success and violation are latched.
        violations: Limits that a command of this step broke; always empty, or the gate is wrong.
        rejected: Why the gate refused a chunk; "" if it took it, or it is still on its way.
        commands: What the robot was commanded at 100 Hz, each (n_joints,) [rad].
    """

    observation: Observation
    score: Score
    violations: tuple[Violation, ...] = ()
    rejected: str = ""
    commands: tuple[FloatArray, ...] = ()


class Environment:
    """In the manner of dm_env: `reset`, `step`, `idle`, `observation_spec`, `action_spec`.

    A step takes a chunk and lasts 50 ms: five ticks of the gate at 100 Hz.
    """

    def __init__(
        self,
        contract: RobotContract | None = None,
        *,
        noisy: bool = True,
        cameras: tuple[str, ...] = CAMERAS,
    ) -> None:
        """Make an environment.

        Args:
            contract: Whose limits and workspace the gate keeps; None for `tabletop_sim`.
            noisy: Whether sensors are as imperfect as real ones.
            cameras: Which cameras are rendered.
        """
        self.table = Tabletop(noisy=noisy)
        self.contract = contract or load_contract("tabletop_sim")
        self._cameras = cameras

    def reset(self, scene: Scene, *, lag_s: float = 0.0) -> TimeStep:
        """Begin an episode in a scene.

        Args:
            scene: What stands where.
            lag_s: How long after its observation a chunk reaches the gate [s]: what inference
                and transport take on a robot. Until then the chunk before goes on.
        """
        self.table.reset(scene)
        self._lag_s = lag_s
        self._on_the_way: deque[tuple[int, ActionChunk]] = deque()
        self._gate = make_gate(self.contract)
        self._gate.reset(self.table.joint_positions)
        self._checker = make_checker(self.contract)
        self._checker.observe(self.table.joint_positions)
        return TimeStep(observation=self._observe(), score=self.table.score())

    def send(self, chunk: ActionChunk, lag_s: float = 0.0) -> None:
        """Send the gate a chunk `lag_s` [s] from now; it is taken while steps pass."""
        self._on_the_way.append((self.now_ns + round((lag_s + self._lag_s) * 1e9), chunk))

    def step(self, chunk: ActionChunk | None) -> TimeStep:
        """Send the gate a chunk (or none) and let 50 ms pass."""
        gate, table = self._gate, self.table
        rejected = ""
        violations: list[Violation] = []
        commands: list[FloatArray] = []
        if chunk is not None:
            self.send(chunk)
        for _ in range(round(STEP_S / CONTROL_STEP_S)):
            now_ns = self.now_ns
            rejected = self._deliver(now_ns) or rejected
            command = gate.tick(now_ns, table.joint_positions)
            if command.positions is not None:
                violations += self._checker.observe(command.positions)
                table.step(command.positions)
            else:
                table.step(table.command)
            commands.append(table.command)
        return TimeStep(
            observation=self._observe(),
            score=table.score(),
            violations=tuple(violations),
            rejected=rejected,
            commands=tuple(commands),
        )

    def idle(self) -> TimeStep:
        """Drop what is executed and what is on its way, as on a robot without an instruction.

        Returns what 50 ms later is sensed; the arm brakes, and stands still from then on.
        """
        self._on_the_way.clear()
        self._gate.drop_chunk("the policy is idle")
        return self.step(None)

    def _deliver(self, now_ns: int) -> str:
        """Hand the gate the chunks that have arrived; return why it refused the last refused."""
        rejected = ""
        while self._on_the_way and self._on_the_way[0][0] <= now_ns:
            try:
                self._gate.accept(self._on_the_way.popleft()[1], now_ns)
            except ChunkRejected as error:
                rejected = str(error)
        return rejected

    @property
    def checked_commands(self) -> int:
        """How many commands of this episode were checked against the limits."""
        return self._checker.commands - 1  # the first is where the arm began

    @property
    def now_ns(self) -> int:
        """Simulated time [ns]."""
        return 1_000_000_000 + round(self.table.time_s * 1e9)

    def observation_spec(self) -> dict[str, ArraySpec]:
        """Return what an observation holds, by feature name."""
        image, depth = (IMAGE_SIZE, IMAGE_SIZE, 3), (IMAGE_SIZE, IMAGE_SIZE)
        spec = {
            f"observation.images.{camera}": ArraySpec(shape=image, dtype=np.uint8, unit="RGB")
            for camera in self._cameras
        }
        spec |= {
            f"observation.depth.{camera}": ArraySpec(shape=depth, dtype=np.float32, unit="m")
            for camera in self._cameras
        }
        spec["observation.imu"] = ArraySpec(
            shape=(IMU_WINDOW, 6), dtype=np.float32, unit="rad/s, m/s^2"
        )
        spec["observation.command"] = ArraySpec(shape=(len(JOINTS),), dtype=np.float32, unit="rad")
        spec["observation.state"] = ArraySpec(shape=(len(JOINTS),), dtype=np.float32, unit="rad")
        return spec

    def action_spec(self) -> ArraySpec:
        """Return what a chunk's rows hold; their number is the policy's."""
        return ArraySpec(shape=(-1, len(JOINTS)), dtype=np.float64, unit="rad")

    def close(self) -> None:
        """Free the renderer."""
        self.table.close()

    def _observe(self) -> Observation:
        rendered = {camera: self.table.render(camera) for camera in self._cameras}
        return Observation(
            stamp_ns=self.now_ns,
            state=self.table.joint_positions.astype(np.float32),
            command=self.table.command.astype(np.float32),
            images={camera: rgb for camera, (rgb, _) in rendered.items()},
            depths={camera: depth for camera, (_, depth) in rendered.items()},
            imu=self.table.imu_window(),
        )
