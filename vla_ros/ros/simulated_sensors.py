"""Publishes a simulated robot's sensors as a robot's drivers would, on the contract's topics."""

from __future__ import annotations

import json
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, Imu, JointState
from std_msgs.msg import String

from vla_ros.contract import DEPTHS, IMAGES, IMU, STATE, FeatureKind, RobotContract
from vla_ros.core.conventions import SCENE_TOPIC
from vla_ros.core.types import FloatArray
from vla_ros.ros.images import AnyArray, write_image
from vla_ros.ros.imu import write_imu
from vla_ros.ros.joints import write_joint_state
from vla_ros.ros.qos import command_qos, event_qos, latched_qos, sensor_qos
from vla_ros.ros.stamps import to_time

IMU_FRAME = "imu_link"
#: A picture of the whole scene, for people; not in the contract, so no policy gets it.
OVERVIEW_TOPIC = "/overview/image_raw"
OVERVIEW_PERIOD_NS = 98_000_000


class Intrinsics(Protocol):
    """Pinhole intrinsics in [px] and the optical frame's name."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    frame_id: str


class SimulatedRobot(Protocol):
    """What a simulator must be able to tell; `vla_ros.sim.tabletop.Tabletop` is one."""

    @property
    def joint_positions(self) -> FloatArray:
        """Joint positions (n_joints,) [rad]."""
        ...

    @property
    def joint_velocities(self) -> FloatArray:
        """Joint velocities (n_joints,) [rad/s]."""
        ...

    @property
    def last_imu(self) -> FloatArray:
        """Gyro [rad/s] and accelerometer [m/s^2] of the last step (6,)."""
        ...

    def render(self, camera: str) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return RGB (H, W, 3) and depth (H, W) [m] of a camera."""
        ...

    def camera_info(self, camera: str) -> Any:
        """Return the `Intrinsics` of a camera."""
        ...

    def render_overview(self) -> NDArray[np.uint8]:
        """Return a picture (H, W, 3) of the whole scene."""
        ...

    def scene_values(self) -> dict[str, Any]:
        """Return what the scene can be drawn again from, as JSON."""
        ...

    def link_transforms(self) -> list[tuple[str, str, FloatArray, FloatArray]]:
        """Return parent, child, xyz (3,) [m] and quat_xyzw (4,) of every link."""
        ...


class SimulatedSensors:
    """The publishers of a simulated robot. Use it from the thread that owns the simulator."""

    def __init__(self, node: Node, contract: RobotContract) -> None:
        """Make a publisher for each stream of the contract."""
        self._node = node
        self._topics = {item.feature: item.topic for item in contract.observations}
        self._joints = contract.action.joints
        seen = [item for item in contract.observations if item.camera]
        seen.sort(key=lambda item: item.kind is FeatureKind.DEPTH)  # colour cameras come first
        self._cameras = list(dict.fromkeys(item.camera for item in seen))
        make = node.create_publisher
        self._joint_states = make(JointState, self._topics[STATE], sensor_qos(depth=5))
        imu = self._topics.get(IMU)
        self._imu = make(Imu, imu, sensor_qos(depth=20)) if imu else None
        self._clock = make(Clock, "/clock", sensor_qos())
        self._images = {
            feature: make(Image, topic, sensor_qos())
            for feature, topic in self._topics.items()
            if feature.startswith((IMAGES, DEPTHS))
        }
        self._infos = {
            camera: make(CameraInfo, _info_topic(self._camera_topic(camera)), command_qos())
            for camera in self._cameras
        }
        self._overview = make(Image, OVERVIEW_TOPIC, sensor_qos())
        self._next_overview_ns = 0
        self._scene = make(String, SCENE_TOPIC, latched_qos())
        self._tf = _transform_publisher(node)

    def publish_time(self, stamp_ns: int) -> None:
        """Publish `/clock`."""
        self._clock.publish(Clock(clock=to_time(stamp_ns)))

    def publish_scene(self, robot: SimulatedRobot) -> None:
        """Publish what the scene can be drawn again from, for recordings to keep."""
        self._scene.publish(String(data=json.dumps(robot.scene_values())))

    def publish_state(self, robot: SimulatedRobot, stamp_ns: int) -> None:
        """Publish joint states."""
        message = write_joint_state(
            stamp_ns, self._joints, robot.joint_positions, robot.joint_velocities
        )
        self._joint_states.publish(message)

    def publish_imu(self, robot: SimulatedRobot, stamp_ns: int) -> None:
        """Publish the reading that the last step took, if the contract has an IMU."""
        if self._imu is None:
            return
        reading = np.asarray(robot.last_imu)
        self._imu.publish(write_imu(reading, stamp_ns=stamp_ns, frame_id=IMU_FRAME))

    def publish_cameras(self, robot: SimulatedRobot, stamp_ns: int) -> None:
        """Render and publish every camera; the first one, which inference waits for, last."""
        for camera in reversed(self._cameras):
            rgb, depth = robot.render(camera)
            info = write_camera_info(robot.camera_info(camera), stamp_ns)
            self._infos[camera].publish(info)
            frame = info.header.frame_id
            self._publish_image(DEPTHS + camera, depth, "32FC1", stamp_ns, frame)
            self._publish_image(IMAGES + camera, rgb, "rgb8", stamp_ns, frame)

    def publish_overview(self, robot: SimulatedRobot, stamp_ns: int) -> None:
        """Render and publish a picture for people, while somebody looks, ten times a second."""
        if stamp_ns < self._next_overview_ns or not self._overview.get_subscription_count():
            return
        self._next_overview_ns = stamp_ns + OVERVIEW_PERIOD_NS
        picture = robot.render_overview()
        self._overview.publish(
            write_image(picture, encoding="rgb8", stamp_ns=stamp_ns, frame_id="world")
        )

    def publish_transforms(self, robot: SimulatedRobot, stamp_ns: int) -> None:
        """Publish every link's transform, where `tf2_msgs` is installed."""
        if self._tf is None:
            return
        publisher, message_type = self._tf
        publisher.publish(message_type(transforms=_transforms(robot, stamp_ns)))

    def _camera_topic(self, camera: str) -> str:
        return self._topics.get(IMAGES + camera) or self._topics[DEPTHS + camera]

    def _publish_image(
        self, feature: str, pixels: AnyArray, encoding: str, stamp_ns: int, frame_id: str
    ) -> None:
        if feature in self._images:
            self._images[feature].publish(
                write_image(pixels, encoding=encoding, stamp_ns=stamp_ns, frame_id=frame_id)
            )


def _info_topic(image_topic: str) -> str:
    return image_topic.rsplit("/", 1)[0] + "/camera_info"


def write_camera_info(known: Any, stamp_ns: int) -> CameraInfo:
    """Return the message of the `Intrinsics` of a camera without distortion."""
    message = CameraInfo(width=known.width, height=known.height, distortion_model="plumb_bob")
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = known.frame_id
    message.d = [0.0] * 5
    message.k = [known.fx, 0.0, known.cx, 0.0, known.fy, known.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [known.fx, 0.0, known.cx, 0.0, 0.0, known.fy, known.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def _transforms(robot: SimulatedRobot, stamp_ns: int) -> list[TransformStamped]:
    stamp = to_time(stamp_ns)
    result = []
    for parent, child, xyz, quat_xyzw in robot.link_transforms():
        item = TransformStamped(child_frame_id=child)
        item.header.stamp = stamp
        item.header.frame_id = parent
        place, turn = item.transform.translation, item.transform.rotation
        place.x, place.y, place.z = (float(value) for value in xyz)
        turn.x, turn.y, turn.z, turn.w = (float(value) for value in quat_xyzw)
        result.append(item)
    return result


def _transform_publisher(node: Node) -> tuple[Publisher, Any] | None:
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        node.get_logger().warning("no /tf: the package tf2_msgs is not installed")
        return None
    return node.create_publisher(TFMessage, "/tf", event_qos(100)), TFMessage
