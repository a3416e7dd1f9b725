"""The six numbers of a reading to `sensor_msgs/Imu`, and back by the code of recordings too."""

from __future__ import annotations

from sensor_msgs.msg import Imu

from vla_ros.core.types import FloatArray
from vla_ros.observation.joint_messages import read_imu
from vla_ros.ros.stamps import to_time

__all__ = ["read_imu", "write_imu"]


def write_imu(reading: FloatArray, *, stamp_ns: int, frame_id: str) -> Imu:
    """Return the message of a reading (6,); orientation is marked as absent."""
    message = Imu()
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame_id
    values = [float(value) for value in reading]
    gyro, accel = message.angular_velocity, message.linear_acceleration
    gyro.x, gyro.y, gyro.z = values[:3]
    accel.x, accel.y, accel.z = values[3:]
    message.orientation_covariance[0] = -1.0
    return message
