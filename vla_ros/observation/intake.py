"""From a contract's sensor messages to features in an `ObservationAligner`.

This is the one translation: the nodes run it on what arrives, and recordings are read with it. The
messages may be `rclpy`'s or those that `rosbags` reads from a file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import DEPTHS, IMAGES, ObservationSpec, RobotContract
from vla_ros.core.conventions import IMU_WINDOW
from vla_ros.core.errors import ObservationError
from vla_ros.core.stamps import to_ns
from vla_ros.observation.aligner import ObservationAligner
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.observation.image_messages import FORMATS, read_compressed, read_depth, read_rgb
from vla_ros.observation.joint_messages import JointStateReader, OtherJoints, read_imu
from vla_ros.observation.stream import StreamSpec

Reader = Callable[[Any], NDArray[np.generic]]
#: Is given a feature and its value; returns what is collected in its place.
Keep = Callable[[str, NDArray[np.generic]], NDArray[np.generic]]


class Intake:
    """Makes the features of messages and collects them by stamp.

    Attributes:
        specs: What the contract promises of each stream, by feature.
        aligner: Where the features go; it builds the observations.
    """

    def __init__(
        self,
        contract: RobotContract,
        on_refusal: Callable[[ObservationError], None] | None = None,
        keep: Keep | None = None,
    ) -> None:
        """Expect the observations of `contract`.

        Args:
            contract: What comes on which topic, and what it has to look like.
            on_refusal: Is told of each message that cannot be used; names its topic.
            keep: What is collected in place of each value; None for the value itself. To know
                which message an observation is made of, a number is enough.
        """
        self._keep = keep
        specs = [stream_spec(item) for item in contract.observations]
        self.specs = {spec.feature: spec for spec in specs}
        self.aligner = ObservationAligner(specs)
        self._readers = {
            item.feature: make_reader(item, contract.action.joints)
            for item in contract.observations
        }
        self._heard: set[str] = set()
        self._on_refusal = on_refusal

    def take(self, feature: str, message: Any) -> bool:
        """Take a message; return false if it is of another device on the same topic.

        One that cannot be used is refused at the aligner, which says why when it is asked.
        """
        try:
            value = self._readers[feature](message)
            if self._keep is not None:
                value = self._keep(feature, value)
            stamp_ns = to_ns(message.header.stamp)
            if stamp_ns == 0:
                topic = self.specs[feature].topic
                raise ObservationError(topic, "the stamp is 0: the driver must set it")
        except OtherJoints as error:
            if feature not in self._heard:  # else another device on the same topic is welcome
                self.aligner.refuse(feature, error.reason)
            return False
        except ObservationError as error:
            self.aligner.refuse(feature, error.reason)
            if self._on_refusal is not None:
                self._on_refusal(error)
        else:
            self.aligner.add(feature, stamp_ns, value)
        self._heard.add(feature)
        return True


def stream_spec(item: ObservationSpec) -> StreamSpec:
    """Return what the contract promises about one stream."""
    size = 0
    if item.encoding in FORMATS and not item.compressed:
        pixel = FORMATS[item.encoding]
        size = item.width * item.height * pixel.channels * np.dtype(pixel.dtype).itemsize
    camera = item.feature.startswith((IMAGES, DEPTHS))
    return StreamSpec(
        feature=item.feature,
        topic=item.topic,
        rate_hz=item.rate_hz,
        max_age_s=item.max_age_s,
        required=item.required,
        frame_bytes=size,
        history=4 if camera else max(2 * IMU_WINDOW, round(0.3 * item.rate_hz)),
    )


def make_reader(item: ObservationSpec, joints: tuple[str, ...]) -> Reader:
    """Return the function that makes the feature of one message."""
    if item.type == "sensor_msgs/msg/JointState":
        return JointStateReader(item.topic, joints).read
    if item.type == "sensor_msgs/msg/Imu":
        return partial(read_imu, topic=item.topic)
    depth, pool = item.feature.startswith(DEPTHS), ArrayPool()
    read: Callable[..., NDArray[np.generic]] = read_depth if depth else read_rgb
    if item.compressed:
        read = partial(read_compressed, depth=depth)
    return partial(
        read,
        topic=item.topic,
        encoding=item.encoding,
        width=item.width,
        height=item.height,
        pool=pool,
    )
