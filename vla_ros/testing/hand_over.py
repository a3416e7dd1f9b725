"""An operator who takes the arm from a policy and gives it back, at random moments.

Gate, arbitration and operator are the real ones, stepped by hand through simulated time. The
policy is a hard one to take over from: it goes on with its own plan as long as the gate lets it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from vla_ros.contract import RobotContract
from vla_ros.core.errors import ChunkRejected
from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.safety import Actor, Arbitration, make_checker, make_gate
from vla_ros.teleop.intent import CARTESIAN, GRIPPER, Intent, Mode
from vla_ros.teleop.operator import Operator, Order
from vla_ros.teleop.settings import TeleopSettings

#: The policy's chunks: rows [s] apart, made every so often [s], so long after the observation [s].
STEP_S, ROWS, EVERY_S, INFERENCE_S = 0.05, 12, 1 / 30, 0.1
#: A policy gives up its plan when a joint is farther away from it than this [rad].
STUBBORN_RAD = 0.6
#: How much of the way to its command a joint of the arm goes per control period.
FOLLOWED = 0.7
#: From the operator's device to the gate, shortest and longest [s].
ON_THE_WAY_S = (0.002, 0.012)


@dataclass(slots=True, kw_only=True)
class HandOverReport:
    """What came of it; times in [s].

    Attributes:
        takeovers: How often the operator took the arm from the policy.
        releases: How often the policy went on after the operator had let go.
        takeover_s: From the press to the first command that is not the policy's any more, each.
        release_s: From letting go to the first command that is the policy's, each.
        held_releases: How many of them the workspace held: the policy's plan led out of it.
        silence_s: From the last word of an operator who falls silent to the arm's rest, each.
        commands: How many were checked.
        violations: Kind of limit to how often a command broke it.
        velocity_share: Highest velocity of a joint, as a share of its limit.
        jerk_share: Highest jerk, as a share of its limit.
        refused: Chunks that the gate refused, by reason.
    """

    takeovers: int = 0
    releases: int = 0
    takeover_s: list[float] = field(default_factory=list)
    release_s: list[float] = field(default_factory=list)
    held_releases: int = 0
    silence_s: list[float] = field(default_factory=list)
    commands: int = 0
    violations: dict[str, int] = field(default_factory=dict)
    velocity_share: float = 0.0
    jerk_share: float = 0.0
    refused: dict[str, int] = field(default_factory=dict)


class HandOver:
    """One arm, its policy and its operator.

    Attributes:
        report: What has come of it so far.
    """

    def __init__(self, contract: RobotContract, settings: TeleopSettings, seed: int) -> None:
        """Put the arm at home, and let the policy begin."""
        self._random = np.random.default_rng(seed)
        self._contract = contract
        self._settings = settings
        self._gate = make_gate(contract)
        self._arbitration = Arbitration(self._gate)
        self._operator = Operator(contract, settings)
        self._checker = make_checker(contract)
        self._period_ns = round(contract.control_period_s * 1e9)
        self._now_ns = self._began_ns = 1_000_000_000_000
        self._measured: FloatArray = np.array(contract.home)
        self._recent: deque[FloatArray] = deque(maxlen=4)
        self._on_the_way: deque[tuple[int, Order]] = deque()
        self._inferred: deque[tuple[int, ActionChunk]] = deque()
        self._next_frame_ns = self._next_word_ns = self._now_ns
        self._pressed: bool | None = False
        self._mode = settings.modes[0]
        self._axes: dict[str, float] = {}
        self._last_word_ns = 0
        self._centre: FloatArray = np.array(contract.home)
        self._phases = self._random.uniform(0.0, 2.0 * np.pi, len(contract.action.joints))
        self._actor = Actor.NOBODY
        self._blocked = False
        self.report = HandOverReport()

    def hand_over(self) -> None:
        """Let the policy act for a while; take the arm, move it, and give it back."""
        self._run_until(Actor.POLICY)
        self._run(self._random.uniform(0.1, 1.0))
        began_ns = self._now_ns
        self._pressed = True
        self._change_direction()
        self._run_until_taken()
        self.report.takeovers += 1
        self.report.takeover_s.append((self._now_ns - began_ns) * 1e-9)
        for _ in range(self._random.integers(1, 6)):
            self._change_direction()
            self._run(self._random.uniform(0.02, 0.5))
        began_ns, self._blocked = self._now_ns, False
        self._pressed = False
        self._run_until(Actor.POLICY)
        self.report.held_releases += self._blocked
        self.report.releases += 1
        self.report.release_s.append((self._now_ns - began_ns) * 1e-9)

    def fall_silent(self) -> None:
        """Take the arm, fall silent in the middle of a motion, come back and let go."""
        self._run(0.1)  # the switch has to be seen released
        self._pressed = True
        self._change_direction()
        self._run_until_taken()
        self._run(self._random.uniform(0.1, 0.5))
        self._pressed = None
        for _ in range(100):
            self._tick()
            if self._gate.at_rest and not self._on_the_way and self._actor is Actor.NOBODY:
                break
        # at rest since the command before the last, which was no other
        rest_ns = self._now_ns - self._period_ns
        self.report.silence_s.append((rest_ns - self._last_word_ns) * 1e-9)
        self._run(0.5)
        assert self._actor is Actor.NOBODY, "the policy got the arm of a silent operator"
        for self._pressed in (False, True, False):
            self._run(0.1)

    def _change_direction(self) -> None:
        self._mode = Mode(self._random.choice([str(mode) for mode in self._settings.modes]))
        names = CARTESIAN if self._mode is Mode.END_EFFECTOR else self._contract.action.joints
        self._axes = {
            name: float(self._random.choice([-1.0, 0.0, 1.0])) for name in (*names, GRIPPER)
        }

    def _run(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds * 1e9 / self._period_ns))):
            self._tick()

    def _run_until(self, actor: Actor) -> None:
        for _ in range(500):
            if self._actor is actor:
                return
            self._tick()
        raise AssertionError(f"{actor} did not act within 5 s: {self.report.refused}")

    def _run_until_taken(self) -> None:
        for _ in range(100):
            if self._arbitration.engaged:
                return
            self._tick()
        raise AssertionError(f"the operator did not get the arm: {self.report.refused}")

    def _tick(self) -> None:
        self._now_ns += self._period_ns
        self._speak()
        while self._on_the_way and self._on_the_way[0][0] <= self._now_ns:
            self._obey(self._on_the_way.popleft()[1])
        self._infer()
        command = self._gate.tick(self._now_ns, self._measured)
        self._actor = self._arbitration.actor(command)
        self._blocked = self._blocked or command.reason.startswith("workspace")
        assert command.positions is not None
        self._measured = self._measured + FOLLOWED * (command.positions - self._measured)
        self._check(command.positions)

    def _speak(self) -> None:
        """Let the device say what the operator wants, about as often as it does."""
        now_ns = self._now_ns
        if self._pressed is None or now_ns < self._next_word_ns:
            return
        intent = Intent(time_ns=now_ns, engaged=self._pressed, mode=self._mode, axes=self._axes)
        order = self._operator.step(intent, now_ns, self._gate.command, stopped=False)
        due_ns = now_ns + round(self._random.uniform(*ON_THE_WAY_S) * 1e9)
        self._on_the_way.append((due_ns, order))
        self._next_word_ns = now_ns + round(1e9 / self._settings.rate_hz)
        self._last_word_ns = now_ns

    def _obey(self, order: Order) -> None:
        if order.let_go:
            self._arbitration.let_go(self._now_ns)
        if order.chunk is not None:
            try:
                self._arbitration.take_operator(order.chunk, self._now_ns)
            except ChunkRejected as error:
                self._count_refusal(error)

    def _infer(self) -> None:
        """Let the policy see a frame when there is one, and answer after its inference."""
        if self._now_ns >= self._next_frame_ns:
            self._next_frame_ns += round(EVERY_S * 1e9)
            chunk = self._plan()
            self._inferred.append((self._now_ns + round(INFERENCE_S * 1e9), chunk))
        while self._inferred and self._inferred[0][0] <= self._now_ns:
            chunk = self._inferred.popleft()[1]
            try:
                self._arbitration.take_policy(chunk, self._now_ns)
            except ChunkRejected as error:
                self._count_refusal(error)

    def _plan(self) -> ActionChunk:
        """Return the policy's plan: it sways about a place, wherever the arm is by now."""
        command = self._gate.command
        if command is not None and np.abs(command - self._centre).max() > STUBBORN_RAD:
            self._centre = command
        times = (self._now_ns - self._began_ns) * 1e-9 + STEP_S * np.arange(1, ROWS + 1)
        sway = 0.25 * np.sin(1.5 * times[:, None] + self._phases)
        return ActionChunk(
            stamp_ns=self._now_ns,
            step_s=STEP_S,
            joint_names=self._contract.action.joints,
            positions=self._centre + sway,
        )

    def _check(self, positions: FloatArray) -> None:
        report, limits = self.report, self._contract.limits
        for violation in self._checker.observe(positions):
            kind = violation.quantity
            report.violations[kind] = report.violations.get(kind, 0) + 1
        report.commands += 1
        self._recent.append(positions)
        if len(self._recent) == 4:
            dt_s, last = self._contract.control_period_s, np.array(self._recent)
            velocity = np.abs(np.diff(last, axis=0)[-1]) / dt_s / limits.velocity
            jerk = np.abs(np.diff(last, 3, axis=0)[-1]) / dt_s**3 / limits.jerk
            report.velocity_share = max(report.velocity_share, float(velocity.max()))
            report.jerk_share = max(report.jerk_share, float(jerk.max()))

    def _count_refusal(self, error: ChunkRejected) -> None:
        kind = error.reason.partition(":")[0]
        self.report.refused[kind] = self.report.refused.get(kind, 0) + 1
