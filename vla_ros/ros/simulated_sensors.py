"""Publishes a `Tabletop`'s sensors as a robot's drivers would, on the contract's topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, Imu, JointState

from vla_ros.contract import RobotContract
from vla_ros.observation.aligner import DEPTHS, IMAGES, IMU, STATE
from vla_ros.ros.images import write_image
from vla_ros.ros.imu import write_imu
from vla_ros.ros.joints import write_joint_state
from vla_ros.ros.qos import command_qos, event_qos, sensor_qos
from vla_ros.ros.stamps import to_time

if TYPE_CHECKING:
    from vla_ros.sim.tabletop import Tabletop

IMU_FRAME = "imu_link"


class SimulatedSensors:
    """The publishers of a simulated robot. Use it from the thread that owns the `Tabletop`."""

    def __init__(self, node: Node, contract: RobotContract) -> None:
        """Make a publisher for each stream of the contract."""
        self._node = node
        self._topics = {item.feature: item.topic for item in contract.observations}
        self._joints = contract.action.joints
        self._cameras = [
            feature.removeprefix(IMAGES) for feature in self._topics if feature.startswith(IMAGES)
        ]
        make = node.create_publisher
        self._joint_states = make(JointState, self._topics[STATE], sensor_qos(depth=5))
        self._imu = make(Imu, self._topics[IMU], sensor_qos(depth=20))
        self._clock = make(Clock, "/clock", sensor_qos())
        self._images = {
            feature: make(Image, topic, sensor_qos())
            for feature, topic in self._topics.items()
            if feature.startswith((IMAGES, DEPTHS))
        }
        self._infos = {
            camera: make(CameraInfo, _info_topic(self._topics[IMAGES + camera]), command_qos())
            for camera in self._cameras
        }
        self._tf = _transform_publisher(node)

    def publish_time(self, stamp_ns: int) -> None:
        """Publish `/clock`."""
        self._clock.publish(Clock(clock=to_time(stamp_ns)))

    def publish_state(self, tabletop: Tabletop, stamp_ns: int) -> None:
        """Publish joint states."""
        message = write_joint_state(
            stamp_ns, self._joints, tabletop.joint_positions, tabletop.joint_velocities
        )
        self._joint_states.publish(message)

    def publish_imu(self, tabletop: Tabletop, stamp_ns: int) -> None:
        """Publish the reading that the last step took."""
        reading = np.asarray(tabletop.last_imu)
        self._imu.publish(write_imu(reading, stamp_ns=stamp_ns, frame_id=IMU_FRAME))

    def publish_cameras(self, tabletop: Tabletop, stamp_ns: int) -> None:
        """Render and publish every camera; the first one, which inference waits for, last."""
        for camera in reversed(self._cameras):
            rgb, depth = tabletop.render(camera)
            info = _camera_info(tabletop, camera, stamp_ns)
            self._infos[camera].publish(info)
            frame = info.header.frame_id
            images = {DEPTHS + camera: (depth, "32FC1"), IMAGES + camera: (rgb, "rgb8")}
            for feature, (pixels, encoding) in images.items():
                if feature in self._images:
                    self._images[feature].publish(
                        write_image(pixels, encoding=encoding, stamp_ns=stamp_ns, frame_id=frame)
                    )

    def publish_transforms(self, tabletop: Tabletop, stamp_ns: int) -> None:
        """Publish every link's transform, where `tf2_msgs` is installed."""
        if self._tf is None:
            return
        publisher, message_type = self._tf
        publisher.publish(message_type(transforms=_transforms(tabletop, stamp_ns)))

    def close(self) -> None:
        """Give the publishers back."""
        everything = [self._joint_states, self._imu, self._clock]
        everything += [*self._images.values(), *self._infos.values()]
        if self._tf is not None:
            everything.append(self._tf[0])
        for publisher in everything:
            self._node.destroy_publisher(publisher)


def _info_topic(image_topic: str) -> str:
    return image_topic.rsplit("/", 1)[0] + "/camera_info"


def _camera_info(tabletop: Tabletop, camera: str, stamp_ns: int) -> CameraInfo:
    known = tabletop.camera_info(camera)
    message = CameraInfo(width=known.width, height=known.height, distortion_model="plumb_bob")
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = known.frame_id
    message.d = [0.0] * 5
    message.k = [known.fx, 0.0, known.cx, 0.0, known.fy, known.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [known.fx, 0.0, known.cx, 0.0, 0.0, known.fy, known.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def _transforms(tabletop: Tabletop, stamp_ns: int) -> list[TransformStamped]:
    stamp = to_time(stamp_ns)
    result = []
    for parent, child, xyz, quat_xyzw in tabletop.link_transforms():
        item = TransformStamped(child_frame_id=child)
        item.header.stamp = stamp
        item.header.frame_id = parent
        place, turn = item.transform.translation, item.transform.rotation
        place.x, place.y, place.z = (float(value) for value in xyz)
        turn.x, turn.y, turn.z, turn.w = (float(value) for value in quat_xyzw)
        result.append(item)
    return result


def _transform_publisher(node: Node):  # type: ignore[no-untyped-def]
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        node.get_logger().warning("no /tf: the package tf2_msgs is not installed")
        return None
    return node.create_publisher(TFMessage, "/tf", event_qos(100)), TFMessage
