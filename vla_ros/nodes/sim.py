"""The `sim` node: the simulated table in real time, behind the topics that hardware would have."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

os.environ.setdefault("LP_NUM_THREADS", "1")  # the software renderer must leave the gate a core

import numpy as np
from vla_ros_interfaces.srv import ResetScene, ScoreScene

from vla_ros.contract import load_contract
from vla_ros.core.errors import ObservationError
from vla_ros.core.types import FloatArray
from vla_ros.ros.diagnostics import OK, WARN, DiagnosticsPublisher, Finding
from vla_ros.ros.joints import CommandCodec
from vla_ros.ros.lifecycle import ManagedNode
from vla_ros.ros.parameters import declare_parameters, parameter
from vla_ros.ros.qos import command_qos
from vla_ros.ros.running import main_of
from vla_ros.ros.simulated_sensors import SimulatedSensors
from vla_ros.sim.contract_check import check_contract
from vla_ros.sim.scenes import SKILLS, SPLITS, Scene, sample_scene
from vla_ros.sim.tabletop import CONTROL_STEP_S, Tabletop

STEP_NS = round(CONTROL_STEP_S * 1e9)
#: Behind the wall clock by more than this, frames are dropped so that physics catches up [ns].
LATE_NS = 30_000_000
#: Frames that may be dropped in a second before that is worth a warning.
TOLERATED_SKIPS = 5
#: Behind by more than this, time jumps and the world has stood still meanwhile [ns]: sensors that
#: are fresh in a slow world serve better than stale ones.
LOST_NS = 80_000_000
#: After a reset the drivers are silent for this long, as after a power cycle [s]: a controller
#: must find out anew where the arm is.
SILENCE_S = 0.4
#: After a reset, commands farther than this from the arm are refused [rad], as servos refuse
#: a jump.
JUMP_RAD = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class SimParameters:
    """ROS parameters of the node."""

    contract: str = parameter("tabletop_sim", about="contract name or path")
    seed: int = parameter(0, about="seed of the first scene")
    split: str = parameter("train", about=f"split of the first scene: {', '.join(SPLITS)}")
    skill: str = parameter("", about=f"skill of the first scene: {', '.join(SKILLS)}; '' = any")
    autostart: bool = parameter(True, about="configure and activate at once")

    def __post_init__(self) -> None:
        """Refuse a split or a skill that does not exist."""
        self.scene()

    def scene(self) -> Scene:
        """Return the first scene."""
        return sample_scene(seed=self.seed, split=self.split, skill=self.skill or None)


class SimNode(ManagedNode):
    """Steps the table at 100 Hz of wall-clock time; one thread owns physics and renderer."""

    default_name = "sim"
    _thread: threading.Thread | None = None

    def setup(self) -> None:
        """Load the contract, draw the first scene, make publishers and services."""
        self._settings = declare_parameters(self, SimParameters)
        self._contract = load_contract(self._settings.contract)
        check_contract(self._contract)
        action = self._contract.action
        self._codec = CommandCodec(action.command.type, action.joints, CONTROL_STEP_S)
        camera = next(item for item in self._contract.observations if item.camera)
        self._frame_period_ns = round(1e9 / camera.rate_hz)
        self._requests: list[tuple[Scene, Future[None]]] = []
        self._stopping = threading.Event()
        self._command: FloatArray | None = None
        self._ready = False
        self._late_ns = self._lost_ns = self._frames = self._skipped = 0
        self._sensors = SimulatedSensors(self, self._contract)
        self._diagnostics = DiagnosticsPublisher(self, self._contract.name)
        self.create_subscription(
            self._codec.message_type, action.command.topic, self._on_command, command_qos()
        )
        self.create_service(ResetScene, "sim/reset", self._on_reset)
        self.create_service(ScoreScene, "sim/score", self._on_score)
        self.create_timer(1.0, self._diagnose)

    def start(self) -> None:
        """Start the physics thread on the first scene."""
        self._scene = self._settings.scene()
        self._stopping.clear()
        self._thread = self.start_thread("physics", self._run)

    def stop(self) -> None:
        """End the physics thread."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join(5.0)
            self._thread = None

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _run(self) -> None:
        self._tabletop = Tabletop()
        try:
            self._reset(self._scene)
            self._ready = True
            while not self._stopping.is_set():
                self._serve_resets()
                self._wait_for_wall_clock()
                self._step()
        finally:
            self._ready = False
            self._tabletop.close()

    def _reset(self, scene: Scene) -> None:
        self._command = None
        self._tabletop.reset(scene)
        self._scene = scene
        self._held = self._tabletop.command
        self._trusting = False
        self._stamp_ns = self._reset_ns = self._next_frame_ns = self._now_ns()
        self._sensors.publish_scene(self._tabletop)
        self.get_logger().info(f"scene {scene.seed} ({scene.skill}): {scene.text}")

    def _serve_resets(self) -> None:
        while self._requests:
            scene, done = self._requests.pop(0)
            if not done.set_running_or_notify_cancel():
                continue  # whoever asked has given up
            self._reset(scene)
            done.set_result(None)

    def _wait_for_wall_clock(self) -> None:
        """Wait until the next step is due; when too far behind, or the clock was set, jump."""
        late_ns = self._now_ns() - (self._stamp_ns + STEP_NS)
        self._late_ns = late_ns
        if abs(late_ns) > LOST_NS:
            self._stamp_ns += late_ns
            self._next_frame_ns = self._stamp_ns
            self._lost_ns += abs(late_ns)
        elif late_ns < 0:
            time.sleep(-late_ns * 1e-9)

    def _step(self) -> None:
        """Advance by one control period and publish what the sensors saw."""
        self._follow_command()
        self._tabletop.step(self._held)
        self._stamp_ns += STEP_NS
        stamp = self._stamp_ns
        self._sensors.publish_time(stamp)
        if (stamp - self._reset_ns) * 1e-9 < SILENCE_S:
            return
        self._sensors.publish_state(self._tabletop, stamp)
        self._sensors.publish_imu(self._tabletop, stamp)
        if stamp >= self._next_frame_ns:
            self._frame(stamp)

    def _follow_command(self) -> None:
        command = self._command
        if command is None:
            return
        if not self._trusting:
            distance = float(np.abs(command - self._tabletop.joint_positions).max())
            if distance > JUMP_RAD:
                return
            self._trusting = True
        self._held = command

    def _frame(self, stamp: int) -> None:
        while self._next_frame_ns <= stamp:
            self._next_frame_ns += self._frame_period_ns
        self._frames += 1
        if self._late_ns > LATE_NS and self._frames % 4:
            self._skipped += 1
            return
        self._sensors.publish_cameras(self._tabletop, stamp)
        self._sensors.publish_transforms(self._tabletop, stamp)
        self._sensors.publish_overview(self._tabletop, stamp)

    def _on_command(self, message: object) -> None:
        try:
            self._command = self._codec.read(message)
        except ObservationError as error:
            self.get_logger().error(f"command refused: {error}", throttle_duration_sec=1.0)

    def _on_reset(
        self, request: ResetScene.Request, response: ResetScene.Response
    ) -> ResetScene.Response:
        try:
            if request.suite not in ("", "core"):
                raise ValueError(f"suite {request.suite!r} does not exist; the suites are: core")
            scene = sample_scene(
                seed=request.seed, split=request.split or "train", skill=request.skill or None
            )
        except ValueError as error:
            response.success, response.message = False, str(error)
            return response
        done: Future[None] = Future()
        self._requests.append((scene, done))
        try:
            done.result(timeout=10.0)
        except TimeoutError:
            done.cancel()
            response.success, response.message = False, "the simulator is not active"
            return response
        response.success, response.message = True, "ready"
        response.instruction, response.skill = scene.text, scene.skill
        return response

    def _on_score(
        self, request: ScoreScene.Request, response: ScoreScene.Response
    ) -> ScoreScene.Response:
        if not self._ready:
            response.reason = "the simulator is not active"
            return response
        score = self._tabletop.score()
        response.success, response.violated = score.success, score.violated
        response.reason = score.reason
        response.skill, response.instruction = self._scene.skill, self._scene.text
        response.elapsed_s = self._tabletop.time_s
        return response

    def _diagnose(self) -> None:
        skipped, self._skipped = self._skipped, 0
        lost_s, self._lost_ns = self._lost_ns * 1e-9, 0
        slow = lost_s > 0.0 or skipped > TOLERATED_SKIPS
        text = (
            f"in the last second {skipped} frames were dropped and the world stood still for "
            f"{lost_s:.2f} s: this machine is too slow or too busy for real time"
        )
        values = {"dropped": skipped, "lost_s": lost_s, "late_ms": round(self._late_ns * 1e-6, 1)}
        level = WARN if slow else OK
        finding = Finding(
            name="real time", message=text if slow else "ok", level=level, values=values
        )
        self._diagnostics.publish([finding])


main = main_of(SimNode)

if __name__ == "__main__":
    main()
