"""Messages to record, made without ROS 2."""

from __future__ import annotations

import numpy as np

from vla_ros.core.types import UInt8Array
from vla_ros.data.message_definitions import make_topic_spec, typestore
from vla_ros.data.message_file import TopicSpec
from vla_ros.data.recording.settings import Arrival

IMAGE, STATE, INSTRUCTION = "/camera/front/image_raw", "/joint_states", "/vla/instruction"
CHUNK = "/vla/policy/chunk"
BEGIN_NS = 1_700_000_000_000_000_000
TYPES = {
    IMAGE: "sensor_msgs/msg/Image",
    STATE: "sensor_msgs/msg/JointState",
    INSTRUCTION: "std_msgs/msg/String",
}


def topics() -> list[TopicSpec]:
    """Return the topics of the messages below, but for that of the gate."""
    return [
        make_topic_spec(name, kind, latched=name == INSTRUCTION) for name, kind in TYPES.items()
    ]


def pixels(number: int) -> UInt8Array:
    """Return the picture of an image by its number, shape (48, 64, 3)."""
    return np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)


def image(number: int, log_ns: int | None = None) -> Arrival:
    """Return the message of an image, stamped 10 ms apart."""
    stamp_ns = BEGIN_NS + number * 10_000_000
    types = typestore().types
    message = types["sensor_msgs/msg/Image"](
        header=types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](
                sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
            ),
            frame_id="camera",
        ),
        height=48,
        width=64,
        encoding="rgb8",
        is_bigendian=0,
        step=192,
        data=pixels(number).ravel(),
    )
    return _arrival(IMAGE, message, number, log_ns or stamp_ns)


def instruction(text: str, log_ns: int) -> Arrival:
    """Return an instruction that came at a time [ns]."""
    return _arrival(INSTRUCTION, typestore().types["std_msgs/msg/String"](data=text), 1, log_ns)


def gate_status(executes: bool, command: list[float], log_ns: int) -> Arrival:
    """Return what the gate says at a time [ns]; the command is in [rad]."""
    types = typestore().types
    message = types["vla_ros_interfaces/msg/GateStatus"](
        header=types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id=""
        ),
        state=int(executes),
        reason="",
        chunk_age_s=0.0,
        chunk_remaining_s=0.0,
        progress=0.0,
        grounding=1.0,
        instruction="",
        actor="policy",
        ticks=0,
        limited=0,
        rejected_chunks=0,
        jitter_p99_ms=0.0,
        command=np.array(command),
    )
    return _arrival("/vla/gate/status", message, 1, log_ns)


def chunk(log_ns: int, bundle: str) -> Arrival:
    """Return a chunk of a policy's bundle that came at a time [ns]."""
    types = typestore().types
    message = types["vla_ros_interfaces/msg/ActionChunk"](
        header=types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id=""
        ),
        joint_names=["elbow_flex"],
        step_s=0.05,
        horizon=1,
        positions=np.zeros(1),
        progress=0.0,
        grounding=1.0,
        instruction="",
        bundle=bundle,
        inference_ms=0.0,
    )
    return _arrival(CHUNK, message, 1, log_ns)


def _arrival(topic: str, message: object, sequence: int, log_ns: int) -> Arrival:
    kind = getattr(message, "__msgtype__")  # noqa: B009 rosbags' name, not ours to declare
    data = bytes(typestore().serialize_cdr(message, kind))
    return Arrival(topic, data, log_ns, log_ns, sequence)
