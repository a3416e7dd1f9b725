from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.signals import SignalHandlerOptions
from rclpy.timer import Timer
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String
from vla_ros_interfaces.srv import LoadPolicy

from vla_ros.core.resources import resource_path
from vla_ros.ros.qos import latched_qos, sensor_qos
from vla_ros.ros.stamps import to_ns
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import NodeProcess
from vla_ros.testing.topic_robot import TopicRobot
from vla_ros.testing.waiting import never, wait_for

StartNode = Callable[..., NodeProcess]
BUNDLE = str(resource_path("models/tabletop-small"))
CHUNKS = "/vla/policy/chunk"
FRONT, STATE, IMU = "/camera/front/image_raw", "/joint_states", "/imu"


class Instructor:
    """Repeats an instruction, as the planner does."""

    def __init__(self, robot: TopicRobot) -> None:
        self.text = ""
        self._publisher = robot.node.create_publisher(String, "/vla/instruction", latched_qos())
        self.timer: Timer = robot.node.create_timer(0.1, self._repeat)

    def _repeat(self) -> None:
        self._publisher.publish(String(data=self.text))


@pytest.fixture
def instructor(robot: TopicRobot) -> Instructor:
    return Instructor(robot)


@pytest.fixture
def policy(robot: TopicRobot, listener: Listener, start_node: StartNode) -> NodeProcess:
    return start_node("policy", backend="swaying", bundle="").wait_active()


@pytest.fixture
def working(policy: NodeProcess, instructor: Instructor, listener: Listener) -> None:
    instructor.text = "push the red cube forever"
    wait_for(lambda: moving(listener), "chunks")


def moving(listener: Listener) -> list[Any]:
    """Return the chunks with rows."""
    return [chunk for chunk in listener.heard[CHUNKS] if chunk.horizon]


def stops(listener: Listener) -> None:
    """Wait until no chunk has come for half a second."""

    def quiet() -> bool:
        count = len(moving(listener))
        try:
            never(lambda: len(moving(listener)) > count, "a chunk", 0.5)
        except AssertionError:
            return False
        return True

    wait_for(quiet, "the chunks to stop")


def explained(listener: Listener, thing: str, text: str) -> None:
    """Wait for a diagnostic status of the policy that is no good and says `text`."""

    def said() -> bool:
        status = listener.finding(f"policy: {thing}")
        if status is None or status.level == DiagnosticStatus.OK:
            return False
        return text in status.message

    try:
        wait_for(said, "diagnostics")
    except AssertionError:
        pytest.fail(f"{thing}: expected {text!r}, got {listener.finding(f'policy: {thing}')}")


def test_chunks_carry_the_stamp_of_the_frame_they_were_made_from(
    robot: TopicRobot, working: None, listener: Listener
) -> None:
    listener.listen(Image, FRONT, sensor_qos(depth=10))
    wait_for(lambda: len(listener.heard[FRONT]) > 20, "frames")
    stamps = {to_ns(frame.header.stamp) for frame in listener.heard[FRONT]}
    chunk = listener.last(CHUNKS)
    assert to_ns(chunk.header.stamp) in stamps
    assert chunk.instruction == "push the red cube forever"
    assert (chunk.horizon, chunk.step_s) == (12, 0.05)
    assert len(chunk.positions) == 72


def test_every_frame_is_used(working: None, listener: Listener) -> None:
    start = len(moving(listener))
    wait_for(lambda: len(moving(listener)) > start + 60, "60 chunks")
    first, last = (moving(listener)[start + step].header.stamp for step in (0, 60))
    span_s = 1e-9 * (to_ns(last) - to_ns(first))
    assert 60 / span_s > 24.0


def test_without_an_instruction_nothing_is_inferred(
    policy: NodeProcess, robot: TopicRobot, listener: Listener
) -> None:
    wait_for(lambda: listener.finding("policy: inference"), "diagnostics")
    never(lambda: moving(listener), "a chunk without an instruction", 1.0)
    status = listener.finding("policy: inference")
    assert status is not None
    assert status.message == "idle: no instruction"


def test_an_empty_instruction_ends_the_chunks_with_an_empty_one(
    working: None, instructor: Instructor, listener: Listener
) -> None:
    instructor.text = ""
    wait_for(lambda: listener.last(CHUNKS).horizon == 0, "the empty chunk")
    never(lambda: listener.last(CHUNKS).horizon, "a chunk after the empty one", 0.5)


def test_an_instruction_that_nobody_repeats_is_dropped(
    working: None, instructor: Instructor, policy: NodeProcess, listener: Listener
) -> None:
    instructor.timer.cancel()
    wait_for(lambda: listener.last(CHUNKS).horizon == 0, "the empty chunk")
    reason = "the instruction was not repeated for 1."
    wait_for(lambda: reason in policy.output, "the reason in the log")
    instructor.timer.reset()
    wait_for(lambda: listener.last(CHUNKS).horizon, "chunks again")


def test_the_same_words_after_a_pause_begin_anew(
    working: None, instructor: Instructor, listener: Listener
) -> None:
    instructor.text = "push the red cube"
    wait_for(lambda: listener.last(CHUNKS).progress > 0.1, "progress")
    count = len(listener.heard[CHUNKS])
    instructor.text = ""
    wait_for(lambda: listener.last(CHUNKS).horizon == 0, "the pause")
    instructor.text = "push the red cube"
    wait_for(lambda: listener.last(CHUNKS).horizon, "chunks again")
    progress = [chunk.progress for chunk in listener.heard[CHUNKS][count:] if chunk.horizon]
    assert min(progress) < 0.05


def test_a_negative_instruction_time_out_ends_the_node_with_one_message(
    start_node: StartNode,
) -> None:
    process = start_node("policy", backend="swaying", bundle="", instruction_timeout_s=-1.0)
    assert process.wait() == 78
    said = "instruction_timeout_s: expected 0 (never) or a duration above 0 s, got -1"
    assert said in process.output
    assert "Traceback" not in process.output


def test_the_diagnostics_go_on_when_simulated_time_stands_still(
    start_node: StartNode, listener: Listener
) -> None:
    start_node("policy", backend="swaying", bundle="", use_sim_time=True).wait_active()
    wait_for(lambda: listener.finding("policy: inference"), "diagnostics without a clock")


def test_another_device_on_the_topic_of_the_joint_states_does_not_stop_inference(
    robot: TopicRobot, working: None, listener: Listener
) -> None:
    wheels = robot.node.create_publisher(JointState, STATE, sensor_qos())
    message = JointState(name=["left_wheel"], position=[1.0])
    robot.node.create_timer(0.005, lambda: wheels.publish(message))
    wait_for(lambda: wheels.get_subscription_count() >= 1, "the policy to listen")
    start = len(moving(listener))
    wait_for(lambda: len(moving(listener)) > start + 60, "60 chunks")
    first, last = (moving(listener)[start + step].header.stamp for step in (0, 60))
    assert 60 / (1e-9 * (to_ns(last) - to_ns(first))) > 24.0


def test_joint_states_of_other_joints_alone_are_named(
    robot: TopicRobot, start_node: StartNode, instructor: Instructor, listener: Listener
) -> None:
    robot.spoil[STATE] = lambda m: setattr(m, "name", ["a", "b", "c", "d", "e", "f"])
    start_node("policy", backend="swaying", bundle="").wait_active()
    explained(listener, STATE, "no joint shoulder_pan")


def test_an_instruction_that_the_policy_refuses_is_named_in_the_diagnostics(
    policy: NodeProcess, instructor: Instructor, robot: TopicRobot, listener: Listener
) -> None:
    instructor.text = "refuse this"
    explained(listener, "inference", "the swaying policy was told to refuse this")
    assert not moving(listener)


@pytest.mark.parametrize("topic", [FRONT, STATE])
def test_a_required_sensor_that_falls_silent_stops_inference_and_is_named(
    robot: TopicRobot, working: None, listener: Listener, topic: str
) -> None:
    robot.silent.add(topic)
    stops(listener)
    explained(listener, topic, "s old, at most")
    if topic == STATE:
        explained(listener, "inference", f"no inference: {topic}: newest message is")
    robot.silent.clear()
    count = len(moving(listener))
    wait_for(lambda: len(moving(listener)) > count, "chunks again")


def test_a_required_sensor_that_never_comes_is_named(
    robot: TopicRobot, start_node: StartNode, instructor: Instructor, listener: Listener
) -> None:
    robot.silent.add("/camera/wrist/image_raw")
    start_node("policy", backend="swaying", bundle="").wait_active()
    instructor.text = "push the red cube"
    explained(listener, "inference", "/camera/wrist/image_raw: no message has arrived")
    explained(listener, "/camera/wrist/image_raw", "no message has arrived")
    assert not moving(listener)


def test_an_optional_sensor_that_falls_silent_is_named_and_inference_goes_on(
    robot: TopicRobot, working: None, listener: Listener
) -> None:
    robot.silent |= {IMU, "/camera/front/depth"}
    explained(listener, IMU, "s old, at most")
    explained(listener, "/camera/front/depth", "s old, at most")
    count = len(moving(listener))
    wait_for(lambda: len(moving(listener)) > count + 10, "more chunks")


def test_old_stamps_count_as_stale(robot: TopicRobot, working: None, listener: Listener) -> None:
    def age(message: Any) -> None:
        message.header.stamp.sec -= 5

    robot.spoil[STATE] = age
    stops(listener)
    explained(listener, STATE, "s old, at most 0.1 s counts")


def put_nan(message: Any) -> None:
    message.position[1] = float("nan")


def cut(message: Any) -> None:
    message.data = message.data[:-3]


def halve(message: Any) -> None:
    message.width //= 2
    message.step //= 2
    message.data = message.data[: message.step * message.height]


@pytest.mark.parametrize(
    ("topic", "spoil", "text"),
    [
        (STATE, put_nan, "position of shoulder_lift is not finite"),
        (FRONT, lambda m: setattr(m, "encoding", "bgr8"), "encoding is 'bgr8', the contract says"),
        (FRONT, halve, "image is 64x128 px, the contract says 128x128 px"),
        (FRONT, cut, "bytes with step 384"),
    ],
)
def test_a_malformed_message_stops_inference_and_its_topic_is_named(
    robot: TopicRobot,
    working: None,
    listener: Listener,
    topic: str,
    spoil: Callable[[Any], None],
    text: str,
) -> None:
    robot.spoil[topic] = spoil
    stops(listener)
    explained(listener, topic, text)
    robot.spoil.clear()
    count = len(moving(listener))
    wait_for(lambda: len(moving(listener)) > count, "chunks again")


def test_a_depth_image_of_nothing_but_holes_is_left_out_and_named(
    robot: TopicRobot, working: None, listener: Listener
) -> None:
    def empty(message: Any) -> None:
        message.data = np.full(128 * 128, np.nan, np.float32).tobytes()

    robot.spoil["/camera/front/depth"] = empty
    explained(listener, "/camera/front/depth", "depth image holds no finite point")
    count = len(moving(listener))
    wait_for(lambda: len(moving(listener)) > count + 10, "more chunks")


def test_a_topic_of_another_type_is_named_with_both_types(
    start_node: StartNode, listener: Listener
) -> None:
    context = rclpy.Context()  # one participant cannot know a topic by two types
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    camera = rclpy.create_node("camera", context=context)
    try:
        camera.create_publisher(CompressedImage, FRONT, sensor_qos())
        start_node("policy", backend="swaying", bundle="").wait_active()
        explained(
            listener,
            FRONT,
            "the topic has type sensor_msgs/msg/CompressedImage, the contract says "
            "sensor_msgs/msg/Image",
        )
    finally:
        camera.destroy_node()
        rclpy.shutdown(context=context)


def test_a_bundle_that_cannot_be_loaded_leaves_the_running_policy_in_place(
    robot: TopicRobot, working: None, listener: Listener
) -> None:
    request = LoadPolicy.Request(path="/no/such/bundle")
    before = len(moving(listener))
    answer = listener.call(LoadPolicy, "/vla/policy/load", request)
    assert answer.success  # the swaying policy has no bundle, so any path is as good
    wait_for(lambda: len(moving(listener)) > before + 10, "chunks of the new policy")


def test_a_missing_bundle_ends_the_node_with_one_message(start_node: StartNode) -> None:
    process = start_node("policy", bundle="/no/such/bundle")
    assert process.wait() == 78
    assert "/no/such/bundle" in process.output
    assert "Traceback" not in process.output


def test_an_unknown_backend_lists_those_that_exist(start_node: StartNode) -> None:
    process = start_node("policy", bundle="", backend="cray")
    assert process.wait() == 78
    assert "backend: expected one of" in process.output
    assert "onnxruntime" in process.output


def test_a_reliable_subscription_to_a_best_effort_camera_is_explained(
    robot: TopicRobot, start_node: StartNode, listener: Listener
) -> None:
    start_node("policy", backend="swaying", bundle="", sensor_reliability="reliable").wait_active()
    explained(listener, FRONT, "its publisher is best effort and this node asks for reliable")


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("onnxruntime", r"onnxruntime 1\.\d+\.\d+, fp32 on CPU"),
        ("openvino", r"openvino \d+\.\d+\.\d+, fp32 on .+"),
    ],
)
def test_the_diagnostics_say_what_runs_each_graph(
    start_node: StartNode, listener: Listener, backend: str, said: str
) -> None:
    start_node("policy", bundle=BUNDLE, backend=backend).wait_active()
    status = wait_for(lambda: listener.finding("policy: engines"), "the engines")
    assert status is not None
    assert status.level == DiagnosticStatus.OK
    runs = {item.key: item.value for item in status.values}
    assert set(runs) == {"policy.onnx", "grounding.onnx"}
    for text in runs.values():
        assert re.fullmatch(said, text)


def test_a_fallback_that_was_asked_for_is_logged_and_stays_in_the_diagnostics(
    start_node: StartNode, listener: Listener
) -> None:
    process = start_node(
        "policy", bundle=BUNDLE, backend="onnxruntime:cuda", fallback="onnxruntime"
    ).wait_active()
    assert "[WARN] backend onnxruntime:cuda is left out: " in process.output
    reason = "policy.onnx: onnxruntime:cuda: the installed ONNX Runtime"
    explained(listener, "engines", reason)
    status = listener.finding("policy: engines")
    assert status is not None
    assert status.level == DiagnosticStatus.WARN


def test_a_backend_that_cannot_run_here_ends_the_node_with_the_way_out(
    start_node: StartNode,
) -> None:
    process = start_node("policy", bundle=BUNDLE, backend="onnxruntime:cuda")
    assert process.wait() == 78
    assert "has no CUDAExecutionProvider" in process.output
    assert "replace onnxruntime by onnxruntime-gpu" in process.output
    assert "Traceback" not in process.output


def test_a_cpu_that_is_not_there_ends_the_node_with_one_message(start_node: StartNode) -> None:
    process = start_node("policy", bundle=BUNDLE, cpus="9999")
    assert process.wait() == 78
    assert "cpus: expected some of" in process.output
    assert "Traceback" not in process.output


def test_a_policy_that_is_replaced_frees_its_engines_and_the_new_one_infers(
    robot: TopicRobot, start_node: StartNode, instructor: Instructor, listener: Listener
) -> None:
    process = start_node("policy", bundle=BUNDLE).wait_active()
    instructor.text = "lift the red cube"
    wait_for(lambda: moving(listener), "chunks")
    assert listener.call(LoadPolicy, "/vla/policy/load", LoadPolicy.Request(path=BUNDLE)).success
    wait_for(lambda: listener.heard[CHUNKS] and not listener.last(CHUNKS).horizon, "the change")
    wait_for(lambda: listener.last(CHUNKS).horizon, "chunks of the new policy")
    assert process.status is None


def test_adaptive_inference_and_real_time_chunking_do_not_go_together(
    start_node: StartNode,
) -> None:
    process = start_node("policy", bundle=BUNDLE, adaptive=True, scheduling="real_time")
    assert process.wait() == 78
    assert "adaptive, scheduling: real_time decides every chunk anew" in process.output
