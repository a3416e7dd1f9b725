"""The robot contract: everything that differs between robots, as checked values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vla_ros.contract.features import STATE, FeatureKind, camera_of, feature_kind
from vla_ros.contract.robot_model import load_chain
from vla_ros.core.errors import ContractError
from vla_ros.core.kinematics import Chain
from vla_ros.core.limits import JointLimits, WorkspaceBox

#: Message type of images that have to be decoded.
COMPRESSED = "sensor_msgs/msg/CompressedImage"


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservationSpec:
    """One sensor topic and the feature that it becomes.

    Attributes:
        feature: LeRobot name, for example `observation.images.front`.
        topic: Where the messages come from.
        type: Message type, for example `sensor_msgs/msg/Image`.
        encoding: Encoding of an image: of its pixels, or of colours that are compressed `jpeg` or
            `png`; "" for other features.
        width: Width of an image in [px]; 0 for other features.
        height: Height of an image in [px]; 0 for other features.
        rate_hz: Promised rate in [Hz].
        frame: Frame that the values are in.
        max_age_s: Oldest age that still counts in [s].
        required: Whether there is no inference without it.
    """

    feature: str
    topic: str
    type: str
    encoding: str = ""
    width: int = 0
    height: int = 0
    rate_hz: float
    frame: str
    max_age_s: float
    required: bool = True

    @property
    def kind(self) -> FeatureKind:
        """What the feature holds.

        Raises:
            ContractError: if the name is none that vla_ros knows.
        """
        kind = feature_kind(self.feature)
        if kind is None:
            raise ContractError(f"'{self.feature}' is no observation feature")
        return kind

    @property
    def camera(self) -> str:
        """The camera's name; "" if it is no camera."""
        return camera_of(self.feature)

    @property
    def compressed(self) -> bool:
        """Whether the messages have to be decoded."""
        return self.type == COMPRESSED


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandSpec:
    """Where commands go: a topic and its message type."""

    topic: str
    type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JointSpec:
    """One commanded joint.

    Attributes:
        name: As in the URDF and in the joint states.
        unit: "rad" or "m".
        position: Lowest and highest position in [unit].
        velocity: Highest speed in [unit/s].
        acceleration: Highest acceleration in [unit/s^2].
        jerk: Highest jerk in [unit/s^3].
        home: Where an episode begins in [unit].
        following_error: Largest distance between command and measurement in [unit] before the gate
            holds; None to tolerate any.
    """

    name: str
    unit: str
    position: tuple[float, float]
    velocity: float
    acceleration: float
    jerk: float
    home: float
    following_error: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSpec:
    """What the robot can be told to do.

    Attributes:
        control_rate_hz: Rate of the commands in [Hz].
        command: Where they go.
        joint_specs: The joints in the order of commands, features and chunks.
        workspace: Where the tip frame may be in the base link's frame; None for anywhere.
        blend_s: Shortest fade from one chunk into the next in [s].
    """

    control_rate_hz: float
    command: CommandSpec
    joint_specs: tuple[JointSpec, ...]
    workspace: WorkspaceBox | None = None
    blend_s: float = 0.1

    @property
    def joints(self) -> tuple[str, ...]:
        """The joints' names in order."""
        return tuple(joint.name for joint in self.joint_specs)

    @property
    def units(self) -> tuple[str, ...]:
        """The joints' units in order."""
        return tuple(joint.unit for joint in self.joint_specs)

    @property
    def limits(self) -> JointLimits:
        """The limits of all joints as arrays."""
        joints = self.joint_specs
        return JointLimits(
            names=self.joints,
            lower=np.array([joint.position[0] for joint in joints]),
            upper=np.array([joint.position[1] for joint in joints]),
            velocity=np.array([joint.velocity for joint in joints]),
            acceleration=np.array([joint.acceleration for joint in joints]),
            jerk=np.array([joint.jerk for joint in joints]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RobotSpec:
    """The robot's description.

    Attributes:
        urdf: URDF or xacro file: absolute, or relative to the contract or to the package.
        base_link: Link whose frame the workspace is in.
        tip_frame: Link at the tool centre point.
        kinematics_sha256: Hash of the chain between the two, so that another arm is noticed.
    """

    urdf: str
    base_link: str
    tip_frame: str
    kinematics_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RobotContract:
    """How topics become features and actions become commands, on one robot.

    Attributes:
        name: Short name of the robot.
        robot: Its description.
        observations: Its sensors; the first camera sets the time of an observation.
        action: Its joints and where commands go.
    """

    name: str
    robot: RobotSpec
    observations: tuple[ObservationSpec, ...]
    action: ActionSpec

    @property
    def home(self) -> tuple[float, ...]:
        """Where an episode begins, in [rad], one value per joint."""
        return tuple(joint.home for joint in self.action.joint_specs)

    @property
    def limits(self) -> JointLimits:
        """The limits of all joints."""
        return self.action.limits

    @property
    def workspace(self) -> WorkspaceBox | None:
        """Where the tip frame may be."""
        return self.action.workspace

    @property
    def control_period_s(self) -> float:
        """Time between two commands in [s]."""
        return 1.0 / self.action.control_rate_hz

    @property
    def blend_s(self) -> float:
        """Shortest fade from one chunk into the next in [s]."""
        return self.action.blend_s

    @property
    def max_state_age_s(self) -> float:
        """Oldest joint state that still counts in [s]."""
        return self.observation(STATE).max_age_s

    @property
    def following_error_rad(self) -> tuple[float, ...]:
        """Tolerated following errors in [rad], infinite where any is; empty where all are."""
        errors = [joint.following_error for joint in self.action.joint_specs]
        if all(error is None for error in errors):
            return ()
        return tuple(float("inf") if error is None else error for error in errors)

    def observation(self, feature: str) -> ObservationSpec:
        """Return the sensor of a feature.

        Raises:
            ContractError: if the robot has none; lists those it has.
        """
        for spec in self.observations:
            if spec.feature == feature:
                return spec
        names = ", ".join(spec.feature for spec in self.observations)
        raise ContractError(f"{self.name}: no feature '{feature}'; there are {names}")

    def chain(self) -> Chain:
        """Return the chain from the base link to the tip frame.

        Raises:
            ContractError: if the URDF cannot be read.
        """
        return load_chain(self.robot.urdf, self.robot.base_link, self.robot.tip_frame)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as embedded in bundles and datasets; `from_dict` reverses it."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RobotContract:
        """Return the contract that `to_dict` gave.

        Raises:
            ContractError: if something is missing or unknown; names it.
        """
        try:
            action = dict(values["action"])
            joints = tuple(
                JointSpec(**{**joint, "position": tuple(joint["position"])})
                for joint in action.pop("joint_specs")
            )
            box = action.pop("workspace")
            workspace = box and WorkspaceBox(lower=tuple(box["lower"]), upper=tuple(box["upper"]))
            command = CommandSpec(**action.pop("command"))
            return cls(
                name=values["name"],
                robot=RobotSpec(**values["robot"]),
                observations=tuple(ObservationSpec(**item) for item in values["observations"]),
                action=ActionSpec(
                    **action, command=command, joint_specs=joints, workspace=workspace
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ContractError(
                f"embedded contract: {error!r}. It was written by another version of vla_ros,"
                " or changed by hand; export the bundle again."
            ) from error

    @property
    def sha256(self) -> str:
        """Hash of the content, however the file is laid out and wherever the URDF lies."""
        values = self.to_dict()
        del values["robot"]["urdf"]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
