"""From what an operator wants to where the arm should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.core.kinematics import Chain
from vla_ros.core.types import FloatArray
from vla_ros.safety import MotionFilter
from vla_ros.teleop.arm_target import CAUGHT_UP_RAD, SLACK_M, ArmTarget
from vla_ros.teleop.configuration import load_teleop
from vla_ros.teleop.intent import Intent, Mode
from vla_ros.teleop.inverse_kinematics import jacobian, rotation_by, solve, turn_between
from vla_ros.teleop.timing import VALID_S, stoppable_speed

CONTRACT = load_contract("tabletop_sim")
CHAIN = CONTRACT.chain()
HOME = np.array(CONTRACT.home)
DT_S = 0.02
TIMES_S = 0.01 * np.arange(1.0, 10.0)


class Arm:
    """An arm that is where it is told to be at once, and its target."""

    def __init__(
        self, device: str = "gamepad", contract: RobotContract = CONTRACT, tool: bool = False
    ) -> None:
        settings = replace(load_teleop(device, contract).settings, tool_frame=tool)
        self.speeds = settings.speeds
        self.fastest = stoppable_speed(contract.limits, settings.rate_hz)
        self.target = ArmTarget(contract, settings)
        self.target.start(HOME)

    def move(
        self, seconds: float, mode: Mode = Mode.END_EFFECTOR, **axes: float
    ) -> tuple[FloatArray, FloatArray]:
        """Move for a time; return the target and the last rows."""
        return self.run(Intent(time_ns=0, engaged=True, mode=mode, axes=axes), seconds)

    def follow(self, seconds: float, **positions: float) -> tuple[FloatArray, FloatArray]:
        return self.run(
            Intent(time_ns=0, engaged=True, mode=Mode.JOINT, positions=positions), seconds
        )

    def run(self, intent: Intent, seconds: float) -> tuple[FloatArray, FloatArray]:
        rows = np.zeros((len(TIMES_S), len(HOME)))
        for _ in range(round(seconds / DT_S)):
            before = self.target.positions
            rows = self.target.advance(intent, DT_S, self.target.positions, TIMES_S)
            step = np.abs(self.target.positions - before)
            assert (step <= self.fastest * DT_S + 1e-9).all(), "faster than can be stopped"
        return self.target.positions, rows


def tip(q: FloatArray) -> FloatArray:
    return CHAIN.forward(q[:5])


@pytest.fixture
def arm() -> Arm:
    return Arm()


def test_the_jacobian_is_what_finite_differences_say() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        q = random.uniform(-1.0, 1.0, 5)
        table, by = jacobian(CHAIN, q), 1e-6
        for joint in range(5):
            moved = q + by * np.eye(5)[joint]
            before, after = CHAIN.forward(q), CHAIN.forward(moved)
            np.testing.assert_allclose(table[:3, joint], (after - before)[:3, 3] / by, atol=1e-5)
            turn = turn_between(before[:3, :3], after[:3, :3]) / by
            np.testing.assert_allclose(table[3:, joint], turn, atol=1e-4)


def test_a_sliding_joint_moves_the_tip_along_its_axis() -> None:
    chain = Chain(
        names=("slide",),
        origins=np.eye(4)[None],
        axes=np.array([[0.0, 0.0, 1.0]]),
        prismatic=(True,),
        lower=np.array([0.0]),
        upper=np.array([1.0]),
        tip=np.eye(4),
    )
    np.testing.assert_allclose(jacobian(chain, np.array([0.3]))[:, 0], [0, 0, 1, 0, 0, 0])


def test_a_turn_that_five_joints_cannot_make_does_not_draw_the_tip_aside() -> None:
    twist = np.array([0.1, 0.05, -0.05, 1.0, 1.0, 1.0])
    velocity = solve(CHAIN, HOME[:5], twist, np.full(5, 10.0), np.outer([-50.0, 50.0], np.ones(5)))
    np.testing.assert_allclose((jacobian(CHAIN, HOME[:5]) @ velocity)[:3], twist[:3], atol=0.01)


def test_a_joint_at_its_limit_stands_still_and_the_others_move_the_tip_all_the_same() -> None:
    twist = np.array([0.05, 0.0, 0.0, 0.0, 0.0, 0.0])
    room = np.outer([-50.0, 50.0], np.ones(5))
    free = solve(CHAIN, HOME[:5], twist, np.full(5, 10.0), room)
    room[:, 3] = 0.0
    held = solve(CHAIN, HOME[:5], twist, np.full(5, 10.0), room)
    assert free[3] != 0.0
    assert held[3] == 0.0
    np.testing.assert_allclose((jacobian(CHAIN, HOME[:5]) @ held)[:3], twist[:3], atol=0.002)


def test_turns_between_rotations_are_found_again() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        vector = random.uniform(-1.0, 1.0, 3) * 1.5
        start = rotation_by(random.uniform(-1.0, 1.0, 3))
        np.testing.assert_allclose(
            turn_between(start, rotation_by(vector) @ start), vector, atol=1e-9
        )


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_the_tip_goes_where_it_is_sent_in_a_straight_line(
    arm: Arm, axis: str, side: float
) -> None:
    begin = tip(HOME)[:3, 3]
    intent = Intent(time_ns=0, engaged=True, mode=Mode.END_EFFECTOR, axes={axis: 0.5 * side})
    q, _ = arm.run(intent, 0.5)
    way = tip(q)[:3, 3] - begin
    along = "xyz".index(axis)
    expected = 0.5 * side * arm.speeds.linear * (0.5 - 0.025)  # it gets to that speed in 0.05 s
    assert way[along] == pytest.approx(expected, abs=0.004)
    assert np.abs(np.delete(way, along)).max() < 0.003


def test_in_the_tools_frame_the_tip_goes_along_its_own_axes() -> None:
    arm, begin = Arm(tool=True), tip(HOME)
    q, _ = arm.move(0.3, x=1.0)
    way = begin[:3, :3].T @ (tip(q)[:3, 3] - begin[:3, 3])
    assert way[0] > 0.03
    assert np.abs(way[1:]).max() < 0.004


def test_turning_leaves_the_tip_where_it_is(arm: Arm) -> None:
    q, _ = arm.move(0.5, pitch=-1.0)
    np.testing.assert_allclose(tip(q)[:3, 3], tip(HOME)[:3, 3], atol=0.005)
    turn = turn_between(tip(HOME)[:3, :3], tip(q)[:3, :3])
    assert turn[1] < -0.3


def test_a_tip_that_cannot_go_on_does_not_run_away(arm: Arm) -> None:
    arm.move(4.0, x=1.0)
    far = tip(arm.target.positions)[:3, 3]
    q, _ = arm.move(1.0, x=-1.0)
    assert tip(q)[0, 3] < far[0] - 0.03, "it came back when it was told to"
    assert np.isfinite(q).all()


def test_the_tip_stays_inside_the_workspace(arm: Arm) -> None:
    assert CONTRACT.workspace is not None
    q, _ = arm.move(3.0, z=-1.0)
    assert tip(q)[2, 3] == pytest.approx(CONTRACT.workspace.lower[2] + 0.005, abs=SLACK_M / 4)


def test_joints_move_at_their_speed_and_stop_at_their_limits(arm: Arm) -> None:
    q, rows = arm.move(1.0, Mode.JOINT, elbow_flex=-0.5)
    assert q[2] - HOME[2] == pytest.approx(-0.5 * arm.speeds.joint * 1.0, abs=0.05)
    np.testing.assert_allclose(np.delete(q, 2), np.delete(HOME, 2))
    np.testing.assert_allclose(np.diff(rows[:, 2]), -0.5 * arm.speeds.joint * 0.01)
    q, rows = arm.move(5.0, Mode.JOINT, elbow_flex=-1.0)
    assert q[2] == rows[-1, 2] == CONTRACT.limits.lower[2]


def test_the_gripper_moves_in_every_mode_and_once(arm: Arm) -> None:
    for mode in (Mode.JOINT, Mode.END_EFFECTOR, Mode.BASE):
        arm.target.start(HOME)
        q, _ = arm.move(0.4, mode, gripper=-1.0)
        assert q[5] - HOME[5] == pytest.approx(-arm.speeds.gripper * 0.35, abs=0.06)
        np.testing.assert_allclose(q[:5], HOME[:5], atol=1e-3)


def test_the_first_word_stands_still_where_the_command_is(arm: Arm) -> None:
    command = HOME + 0.1
    arm.target.start(command)
    intent = Intent(time_ns=0, engaged=True, mode=Mode.JOINT, axes={"shoulder_pan": 1.0})
    np.testing.assert_allclose(arm.target.advance(intent, 0.0, command, TIMES_S), [command] * 9)


def test_a_target_does_not_run_away_from_an_arm_that_is_held(arm: Arm) -> None:
    intent = Intent(time_ns=0, engaged=True, mode=Mode.JOINT, axes={"shoulder_pan": 1.0})
    for _ in range(100):
        arm.target.advance(intent, DT_S, HOME, TIMES_S)
    assert arm.target.positions[0] <= HOME[0] + 0.25 * arm.fastest[0] + 0.05


def test_a_leader_far_away_is_approached_slowly_and_then_followed() -> None:
    arm = Arm("leader")
    goal = HOME[0] + 1.0
    q, _ = arm.follow(0.5, shoulder_pan=goal)
    assert q[0] - HOME[0] == pytest.approx(arm.speeds.catch_up * 0.5, rel=0.02)
    arm.follow(2.0, shoulder_pan=goal)
    assert abs(arm.target.positions[0] - goal) < CAUGHT_UP_RAD / 5
    q, _ = arm.follow(0.2, shoulder_pan=goal + 0.3)
    assert q[0] > goal + 0.15, "it has caught up: now it follows at once"
    np.testing.assert_allclose(q[1:], HOME[1:])


@pytest.mark.parametrize("rate_hz", [30.0, 50.0, 100.0])
def test_an_arm_at_the_highest_speed_can_be_stopped_between_two_words(rate_hz: float) -> None:
    limits = CONTRACT.limits
    speed = stoppable_speed(limits, rate_hz)
    motion = MotionFilter(limits, 0.01)
    position = motion.reset(limits.lower + 0.1)
    for _ in range(25):
        position = position + speed * 0.01
        motion.step(position, speed)
    left_s = VALID_S - 1.0 / rate_hz - 0.01
    assert (np.abs(motion.velocity) > 0.9 * speed).all()
    assert motion.periods_to_stop(100) * 0.01 <= left_s


@pytest.mark.parametrize("rate_hz", [29.0, 0.0, float("nan")])
def test_a_device_that_speaks_too_seldom_is_refused(rate_hz: float) -> None:
    with pytest.raises(UserError, match="could not be stopped within 100 ms"):
        stoppable_speed(CONTRACT.limits, rate_hz)
