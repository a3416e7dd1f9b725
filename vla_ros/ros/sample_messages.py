"""Serialized sensor messages of a robot that stands still, as a driver would send them."""

from __future__ import annotations

import array
import struct
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from vla_ros.contract import FeatureKind, ObservationSpec, RobotContract
from vla_ros.core.types import FloatArray
from vla_ros.observation.decompression import DEPTH_HEADER
from vla_ros.ros.images import FORMATS, write_image
from vla_ros.ros.imu import write_imu
from vla_ros.ros.joints import write_joint_state
from vla_ros.ros.stamps import NANOSECONDS

#: Different pictures of each camera: one alone would stay in the processor's cache.
PICTURES = 4
#: Every message begins with 4 bytes that tell the encoding, then the stamp.
STAMP_AT = 4
#: How `compressed_depth_image_transport` quantizes by default: 10 m at most, 1 % at 1 m.
A = np.float32(100.0 * 101.0)
B = np.float32(1.0 - A / 10.0)


class SampleMessages:
    """Makes the messages of a contract's sensors: a smooth scene, with some noise and holes."""

    def __init__(self, contract: RobotContract, seed: int = 0) -> None:
        """Draw and serialize the pictures of each camera."""
        self._rng = np.random.default_rng(seed)
        self._names = contract.action.joints
        self._pictures = {
            spec.feature: [
                bytearray(serialize_message(self._picture(spec))) for _ in range(PICTURES)
            ]
            for spec in contract.observations
            if spec.camera
        }

    def camera(self, spec: ObservationSpec, stamp_ns: int, index: int) -> bytes:
        """Return one of a camera's pictures, stamped [ns]."""
        data = self._pictures[spec.feature][index % PICTURES]
        struct.pack_into("<iI", data, STAMP_AT, *divmod(stamp_ns, NANOSECONDS))
        return bytes(data)

    def imu(self, spec: ObservationSpec, stamp_ns: int) -> bytes:
        """Return a reading at rest, stamped [ns]."""
        reading = self._rng.normal((0.0, 0.0, 0.0, 0.0, 0.0, 9.81), 0.01)
        return bytes(serialize_message(write_imu(reading, stamp_ns=stamp_ns, frame_id=spec.frame)))

    def joints(self, positions: FloatArray | Sequence[float], stamp_ns: int) -> bytes:
        """Return the joint state of positions (n_joints,) [rad], stamped [ns]."""
        where = np.asarray(positions, np.float64)
        message = write_joint_state(stamp_ns, self._names, where, np.zeros(len(where)))
        return bytes(serialize_message(message))

    def _picture(self, spec: ObservationSpec) -> Any:
        colours = spec.kind is FeatureKind.IMAGE
        pixels = self._colours(spec) if colours else self._depth(spec)
        if not spec.compressed:
            return write_image(pixels, encoding=spec.encoding, stamp_ns=1, frame_id=spec.frame)
        message = CompressedImage(format=spec.encoding)
        header = b""
        if not colours:
            message.format, header = (
                f"{spec.encoding}; compressedDepth png",
                DEPTH_HEADER.pack(0, A, B),
            )
            if spec.encoding == "32FC1":
                values = np.divide(A, pixels, out=np.zeros_like(pixels), where=pixels > 0)
                pixels = np.where(pixels > 0, np.round(values + B), 0.0).astype(np.uint16)
        _, data = cv2.imencode(".jpg" if spec.encoding == "jpeg" else ".png", pixels)
        message.data = array.array("B", header + data.tobytes())
        message.header.frame_id = spec.frame
        return message

    def _colours(self, spec: ObservationSpec) -> NDArray[Any]:
        channels = 3 if spec.compressed else FORMATS[spec.encoding].channels
        coarse = self._rng.integers(0, 256, (12, 16, channels), dtype=np.uint8)
        smooth = cv2.resize(coarse, (spec.width, spec.height), interpolation=cv2.INTER_CUBIC)
        noise = self._rng.integers(0, 6, smooth.shape, dtype=np.uint8)
        return np.asarray(cv2.add(smooth, noise))

    def _depth(self, spec: ObservationSpec) -> NDArray[Any]:
        coarse = self._rng.uniform(0.3, 1.2, (12, 16)).astype(np.float32)
        metres = cv2.resize(coarse, (spec.width, spec.height), interpolation=cv2.INTER_LINEAR)
        metres[self._rng.random(metres.shape) < 0.02] = 0.0
        if spec.encoding == "16UC1":
            return np.asarray(np.round(1000.0 * metres), np.uint16)
        return np.asarray(metres, np.float32)
