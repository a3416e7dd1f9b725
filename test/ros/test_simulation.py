"""The whole graph, with the simulator and a policy that sways the arm for five seconds."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, Imu, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from tf2_msgs.msg import TFMessage
from vla_ros_interfaces.msg import GateStatus
from vla_ros_interfaces.srv import ResetScene, ScoreScene

from vla_ros.planner import Outcome
from vla_ros.ros.images import read_depth, read_rgb
from vla_ros.ros.qos import command_qos, event_qos, sensor_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.testing.goal import SentGoal
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import GraphProcess
from vla_ros.testing.waiting import wait_for

pytestmark = pytest.mark.usefixtures("graph")

STATUS = "/vla/gate/status"
COMMANDS = "/forward_position_controller/commands"
SENSORS = (
    "/camera/front/image_raw",
    "/camera/front/depth",
    "/camera/front/camera_info",
    "/camera/wrist/image_raw",
    "/camera/wrist/depth",
    "/camera/wrist/camera_info",
    "/imu",
    "/joint_states",
    "/clock",
    "/tf",
)
ENDLESS = "push the red cube forever"


def executing(listener: Listener) -> bool:
    last = listener.last(STATUS)
    return last is not None and last.state == GateStatus.EXECUTING


def holding(listener: Listener) -> bool:
    last = listener.last(STATUS)
    return last is not None and last.state == GateStatus.HOLD


def test_a_goal_moves_the_arm_and_succeeds_by_the_policys_own_progress(
    listener: Listener,
) -> None:
    listener.listen(JointState, "/joint_states", sensor_qos(depth=50))
    goal = SentGoal(listener.node, "push the red cube")
    outcome, message = goal.wait()
    assert outcome is Outcome.SUCCEEDED, message
    assert "the policy reports progress" in message
    pan = [state.position[0] for state in listener.heard["/joint_states"]]
    assert max(pan) - min(pan) > 0.2
    progress = [item.progress for item in goal.feedback]
    assert progress == sorted(progress)
    assert len(progress) > 10
    wait_for(lambda: holding(listener), "the gate to hold afterwards")


def test_a_sentence_that_means_nothing_is_rejected_with_the_reason(listener: Listener) -> None:
    outcome, message = SentGoal(listener.node, "sing me a song about the sea").wait()
    assert outcome is Outcome.REJECTED
    assert "Understood are" in message


def test_what_the_policy_does_not_see_ends_the_goal_as_not_found(listener: Listener) -> None:
    outcome, message = SentGoal(listener.node, "push the lost red cube").wait()
    assert outcome is Outcome.NOT_FOUND
    assert message.startswith('what "push the lost red cube" names is not on the table')
    wait_for(lambda: holding(listener), "the gate to hold afterwards")


def test_steps_are_done_one_after_the_other_until_one_names_what_is_not_there(
    listener: Listener,
) -> None:
    goal = SentGoal(listener.node, "push the red cube, then push the lost green cube")
    outcome, message = goal.wait()
    assert outcome is Outcome.NOT_FOUND
    assert message.startswith('step 2 of 2, "push the lost green cube": ')
    steps = {item.step: item.progress for item in goal.feedback}
    assert list(steps) == ["push the red cube", "push the lost green cube"]
    assert steps["push the red cube"] > 0.9


def test_ten_thousand_characters_are_rejected(listener: Listener) -> None:
    outcome, message = SentGoal(listener.node, "push the red cube " * 600).wait()
    assert outcome is Outcome.REJECTED
    assert "at most 500 are read" in message


def test_a_second_goal_is_rejected_and_does_not_disturb_the_first(listener: Listener) -> None:
    first = SentGoal(listener.node, "push the red cube")
    wait_for(lambda: executing(listener), "the first goal to move the arm")
    outcome, message = SentGoal(listener.node, "lift the blue ball").wait()
    assert outcome is Outcome.REJECTED
    assert '"push the red cube" still runs' in message
    assert first.wait()[0] is Outcome.SUCCEEDED


def test_a_cancelled_goal_ends_at_once_and_the_arm_holds(listener: Listener) -> None:
    goal = SentGoal(listener.node, ENDLESS)
    wait_for(lambda: executing(listener), "the goal to move the arm")
    goal.cancel()
    outcome, _ = goal.wait(timeout_s=2.0)
    assert outcome is Outcome.CANCELED
    wait_for(lambda: holding(listener), "the arm to hold", timeout_s=1.0)


def test_a_goal_that_takes_too_long_times_out(listener: Listener) -> None:
    outcome, message = SentGoal(listener.node, ENDLESS, timeout_s=2.0).wait()
    assert outcome is Outcome.TIMED_OUT
    assert "not done after 2.0 s" in message


def test_the_emergency_stop_ends_the_goal_and_after_a_reset_the_next_one_works(
    listener: Listener,
) -> None:
    goal = SentGoal(listener.node, ENDLESS)
    wait_for(lambda: executing(listener), "the goal to move the arm")
    listener.call(SetBool, "/vla/gate/estop", SetBool.Request(data=True))
    outcome, message = goal.wait(timeout_s=3.0)
    assert (outcome, "emergency stop" in message) == (Outcome.HELD, True)
    listener.call(SetBool, "/vla/gate/estop", SetBool.Request(data=False))
    assert listener.call(Trigger, "/vla/gate/reset", Trigger.Request()).success
    assert SentGoal(listener.node, "push the red cube").wait()[0] is Outcome.SUCCEEDED


def test_the_simulator_publishes_every_stream_of_the_contract(listener: Listener) -> None:
    for camera in ("front", "wrist"):
        listener.listen(Image, f"/camera/{camera}/image_raw", sensor_qos())
        listener.listen(Image, f"/camera/{camera}/depth", sensor_qos())
        listener.listen(CameraInfo, f"/camera/{camera}/camera_info", command_qos())
    listener.listen(Imu, "/imu", sensor_qos(depth=20))
    listener.listen(JointState, "/joint_states", sensor_qos())
    listener.listen(Clock, "/clock", sensor_qos())
    listener.listen(TFMessage, "/tf", event_qos())
    wait_for(lambda: all(map(listener.last, SENSORS)), "a message of every stream")
    for camera in ("front", "wrist"):
        rgb = read_rgb(
            listener.last(f"/camera/{camera}/image_raw"),
            topic="",
            encoding="rgb8",
            width=128,
            height=128,
        )
        depth = read_depth(
            listener.last(f"/camera/{camera}/depth"),
            topic="",
            encoding="32FC1",
            width=128,
            height=128,
        )
        info = listener.last(f"/camera/{camera}/camera_info")
        assert rgb.std() > 5.0
        assert 0.03 < np.median(depth[depth > 0]) < 2.0
        assert (info.width, info.height, info.header.frame_id) == (
            128,
            128,
            f"{camera}_camera_optical",
        )
        assert info.k[0] > 50.0
    links = {item.child_frame_id for item in listener.last("/tf").transforms}
    assert {"tcp", "imu_link", "front_camera_optical", "wrist_camera_optical"} <= links
    imu = listener.last("/imu")
    assert np.hypot.reduce([getattr(imu.linear_acceleration, a) for a in "xyz"]) > 5.0


def test_streams_of_one_instant_share_their_stamp(listener: Listener) -> None:
    topics = [f"/camera/{c}/{kind}" for c in ("front", "wrist") for kind in ("image_raw", "depth")]
    for topic in topics:
        listener.listen(Image, topic, sensor_qos(depth=10))

    def shared() -> set[int]:
        stamps = [{to_ns(m.header.stamp) for m in listener.heard[topic]} for topic in topics]
        return set.intersection(*stamps)

    wait_for(lambda: len(shared()) > 5, "five instants that every camera saw")


def test_a_reset_lays_the_table_anew_and_the_gate_does_not_drag_the_arm_back(
    listener: Listener,
) -> None:
    listener.listen(JointState, "/joint_states", sensor_qos(depth=50))
    request = ResetScene.Request(suite="core", split="seeds", skill="lift", seed=42)
    answer = listener.call(ResetScene, "/vla/sim/reset", request)
    assert (answer.success, answer.skill) == (True, "lift")
    assert answer.instruction
    count = len(listener.heard["/joint_states"])
    wait_for(lambda: len(listener.heard["/joint_states"]) > count + 5, "joint states")
    start = np.array(listener.heard["/joint_states"][-1].position)
    wait_for(lambda: len(listener.heard["/joint_states"]) > count + 105, "a second of them")
    after = np.array([state.position for state in listener.heard["/joint_states"][-100:]])
    assert np.abs(after - start).max() < 0.1
    status = wait_for(lambda: listener.last(STATUS), "the gate's status")
    np.testing.assert_allclose(status.command, start, atol=0.12)
    score = listener.call(ScoreScene, "/vla/sim/score", ScoreScene.Request())
    assert (score.success, score.violated, score.skill) == (False, False, "lift")
    assert score.instruction == answer.instruction
    assert score.elapsed_s > 1.0


def test_a_reset_to_something_that_does_not_exist_says_what_does(listener: Listener) -> None:
    request = ResetScene.Request(suite="core", split="seeds", skill="juggle", seed=1)
    answer = listener.call(ResetScene, "/vla/sim/reset", request)
    assert not answer.success
    assert "choose one of reach, push, lift, place, stack" in answer.message


def test_the_simulator_refuses_commands_that_are_not_finite(
    listener: Listener, graph: GraphProcess
) -> None:
    publisher = listener.node.create_publisher(Float64MultiArray, COMMANDS, command_qos())

    def refused() -> bool:  # the gate's next command may take the place of one not read yet
        publisher.publish(Float64MultiArray(data=[float("nan")] * 6))
        return any("command refused: command: expected 6 finite" in line for line in graph.lines)

    wait_for(refused, "the simulator to refuse it")


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vla_ros.cli.app", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_vla_ros_run_shows_the_outcome_and_exits_0_on_success() -> None:
    done = run_command("push the red cube")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCEEDED after" in done.stdout
    assert "step: push the red cube" in done.stdout


def test_vla_ros_run_exits_1_and_says_why_otherwise() -> None:
    done = run_command("hello")
    assert done.returncode == 1
    assert "REJECTED" in done.stdout
