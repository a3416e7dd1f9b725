from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from vla_ros_interfaces.msg import ActionChunk as ActionChunkMessage

from vla_ros.core.errors import ChunkRejected, ContractError, ObservationError
from vla_ros.core.types import ActionChunk
from vla_ros.ros.chunks import read_chunk, write_chunk
from vla_ros.ros.imu import read_imu, write_imu
from vla_ros.ros.joints import (
    COMMAND_TYPES,
    CommandCodec,
    JointStateReader,
    OtherJoints,
    write_joint_state,
)
from vla_ros.ros.stamps import to_ns, to_time

JOINTS = ("pan", "lift", "gripper")


def joint_state(names: list[str], positions: list[float]) -> JointState:
    return JointState(name=names, position=positions)


def test_joints_in_any_order_and_beside_others_are_put_in_order() -> None:
    reader = JointStateReader("/joint_states", JOINTS)
    message = joint_state(["lift", "wheel", "gripper", "pan"], [2.0, 9.0, 3.0, 1.0])
    np.testing.assert_array_equal(reader.read(message), [1.0, 2.0, 3.0])


def test_a_change_of_the_order_between_messages_is_noticed() -> None:
    reader = JointStateReader("/joint_states", JOINTS)
    reader.read(joint_state(["pan", "lift", "gripper"], [1.0, 2.0, 3.0]))
    read = reader.read(joint_state(["gripper", "lift", "pan"], [3.0, 2.0, 1.0]))
    np.testing.assert_array_equal(read, [1.0, 2.0, 3.0])


def test_a_missing_joint_is_named() -> None:
    reader = JointStateReader("/joint_states", JOINTS)
    with pytest.raises(ObservationError, match="/joint_states: no joint gripper"):
        reader.read(joint_state(["pan", "lift"], [1.0, 2.0]))


def test_the_joint_state_of_another_device_is_told_from_one_that_lacks_a_joint() -> None:
    reader = JointStateReader("/joint_states", JOINTS)
    with pytest.raises(OtherJoints, match="no joint pan, lift, gripper; the message has wheel"):
        reader.read(joint_state(["wheel"], [1.0]))
    with pytest.raises(ObservationError) as caught:
        reader.read(joint_state(["wheel", "pan"], [1.0, 1.0]))
    assert not isinstance(caught.value, OtherJoints)


def test_fewer_positions_than_names_are_refused() -> None:
    reader = JointStateReader("/joint_states", JOINTS)
    with pytest.raises(ObservationError, match="3 joint names but 2 positions"):
        reader.read(joint_state(list(JOINTS), [1.0, 2.0]))


def test_a_joint_that_is_not_finite_is_named() -> None:
    reader = JointStateReader("/joint_states", JOINTS)
    with pytest.raises(ObservationError, match="position of lift is not finite"):
        reader.read(joint_state(list(JOINTS), [1.0, float("nan"), 2.0]))


@pytest.mark.parametrize("kind", sorted(COMMAND_TYPES))
def test_commands_of_every_type_come_back(kind: str) -> None:
    codec = CommandCodec(kind, JOINTS, 0.01)
    targets = np.array([0.1, -0.2, 0.3])
    message = codec.write(targets, 7)
    assert isinstance(message, codec.message_type)
    np.testing.assert_array_equal(codec.read(message), targets)


@pytest.mark.parametrize("kind", sorted(COMMAND_TYPES))
def test_a_command_that_is_not_finite_is_refused_by_the_driver_side(kind: str) -> None:
    codec = CommandCodec(kind, JOINTS, 0.01)
    with pytest.raises(ObservationError, match="expected 3 finite targets"):
        codec.read(codec.write(np.array([0.1, np.nan, 0.3]), 7))


def test_an_unknown_command_type_lists_the_known_ones() -> None:
    with pytest.raises(ContractError, match="got 'std_msgs/msg/String'"):
        CommandCodec("std_msgs/msg/String", JOINTS, 0.01)


def test_imu_readings_come_back() -> None:
    reading = np.array([0.1, 0.2, 0.3, 1.0, 2.0, 9.8])
    message = write_imu(reading, stamp_ns=3, frame_id="imu_link")
    np.testing.assert_array_equal(read_imu(message, topic="/imu"), reading)


def test_an_imu_reading_that_is_not_finite_is_refused() -> None:
    message = write_imu(np.array([0.1, np.inf, 0, 0, 0, 9.8]), stamp_ns=3, frame_id="imu_link")
    with pytest.raises(ObservationError, match="/imu: reading is not finite"):
        read_imu(message, topic="/imu")


def test_an_imu_without_accelerometer_is_refused() -> None:
    message = write_imu(np.zeros(6), stamp_ns=3, frame_id="imu_link")
    message.linear_acceleration_covariance[0] = -1.0
    with pytest.raises(ObservationError, match="marks gyro or accelerometer as absent"):
        read_imu(message, topic="/imu")


def test_chunks_come_back() -> None:
    positions = np.arange(36, dtype=np.float64).reshape(12, 3)
    chunk = ActionChunk(
        stamp_ns=1_234_567_890_123,
        step_s=0.05,
        joint_names=JOINTS,
        positions=positions,
        progress=0.5,
        grounding=0.25,
        instruction="lift",
    )
    message = write_chunk(chunk, bundle="abc", inference_ms=4.0)
    assert (message.bundle, message.inference_ms) == ("abc", 4.0)
    read = read_chunk(message)
    np.testing.assert_array_equal(read.positions, positions)
    assert (read.stamp_ns, read.step_s, read.joint_names) == (1_234_567_890_123, 0.05, JOINTS)
    assert (read.progress, read.grounding, read.instruction) == (0.5, 0.25, "lift")


def test_a_policy_that_says_nothing_of_grounding_is_taken_to_see_what_is_named() -> None:
    assert read_chunk(ActionChunkMessage()).grounding == 1.0


def test_a_chunk_with_a_wrong_number_of_positions_is_rejected() -> None:
    message = ActionChunkMessage(joint_names=list(JOINTS), horizon=2, positions=[0.0] * 5)
    with pytest.raises(ChunkRejected, match="5 positions for 2 rows of 3 joints"):
        read_chunk(message)


@pytest.mark.parametrize("stamp_ns", [0, 1, 999_999_999, 1_700_000_000_123_456_789])
def test_stamps_come_back(stamp_ns: int) -> None:
    assert to_ns(to_time(stamp_ns)) == stamp_ns


def test_a_written_joint_state_has_no_empty_array_at_its_end() -> None:
    message = write_joint_state(1, JOINTS, np.ones(3), np.zeros(3))
    assert list(message.effort) == [0.0, 0.0, 0.0]
