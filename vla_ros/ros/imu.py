"""`sensor_msgs/Imu` to and from the six numbers of a reading."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import Imu

from vla_ros.core.errors import ObservationError
from vla_ros.core.types import FloatArray
from vla_ros.ros.stamps import to_time


def read_imu(message: Imu, *, topic: str) -> FloatArray:
    """Return gyro xyz [rad/s] and acceleration xyz [m/s^2], shape (6,).

    Raises:
        ObservationError: if a value is not finite, or the driver marks a half as absent (first
            covariance element -1).
    """
    if message.angular_velocity_covariance[0] < 0 or message.linear_acceleration_covariance[0] < 0:
        raise ObservationError(topic, "the driver marks gyro or accelerometer as absent")
    gyro, accel = message.angular_velocity, message.linear_acceleration
    reading = np.array([gyro.x, gyro.y, gyro.z, accel.x, accel.y, accel.z])
    if not np.isfinite(reading).all():
        raise ObservationError(topic, f"reading is not finite: {reading.tolist()}")
    return reading


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
