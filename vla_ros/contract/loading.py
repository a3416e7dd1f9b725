"""From a YAML file to a checked robot contract."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from pathlib import Path

from vla_ros.contract.features import (
    DEPTHS,
    IMAGES,
    IMU,
    STATE,
    FeatureKind,
    feature_kind,
)
from vla_ros.contract.robot_check import check_robot
from vla_ros.contract.robot_model import chain_sha256, find_urdf, load_chain, load_robot
from vla_ros.contract.section import Section
from vla_ros.contract.specs import (
    COMPRESSED,
    ActionSpec,
    CommandSpec,
    JointSpec,
    ObservationSpec,
    RobotContract,
    RobotSpec,
)
from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import ContractError
from vla_ros.core.limits import SMALLEST_CHANGE_RAD, WorkspaceBox
from vla_ros.core.resources import resource_path, resource_roots

IMAGE = "sensor_msgs/msg/Image"
MESSAGE_TYPES = {
    FeatureKind.IMAGE: (IMAGE, COMPRESSED),
    FeatureKind.DEPTH: (IMAGE, COMPRESSED),
    FeatureKind.IMU: ("sensor_msgs/msg/Imu",),
    FeatureKind.STATE: ("sensor_msgs/msg/JointState",),
}
ENCODINGS = {
    (FeatureKind.IMAGE, IMAGE): ("rgb8", "bgr8", "rgba8", "bgra8", "mono8"),
    (FeatureKind.IMAGE, COMPRESSED): ("jpeg", "png"),
    (FeatureKind.DEPTH, IMAGE): ("32FC1", "16UC1"),
    (FeatureKind.DEPTH, COMPRESSED): ("32FC1", "16UC1"),
}
COMMAND_TYPES = (
    "std_msgs/msg/Float64MultiArray",
    "trajectory_msgs/msg/JointTrajectory",
    "sensor_msgs/msg/JointState",
)
#: What ROS 2 takes as a topic's name, absolute or within the nodes' namespace.
TOPIC = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
VERSION = 1


def load_contract(name: str | Path) -> RobotContract:
    """Return the contract of a shipped robot by its name, or of a YAML file by its path.

    Raises:
        ContractError: if there is none, or something in it is wrong; names file, key, what was
            expected, what came, and the way out.
    """
    file = find_contract(name)
    top = Section.read(file)
    version = top.number("version")
    if version != VERSION:
        top.fail("version", f"expected {VERSION}, got {version:g}. See docs/reference/contract.md")
    contract_name = top.text("name")
    robot = _read_robot(top, file)
    observations = _read_observations(top.section("observations"))
    action = _read_action(top.section("action"))
    top.finish()
    _check_topics(observations, action.command, top)
    contract = RobotContract(
        name=contract_name, robot=robot, observations=observations, action=action
    )
    check_robot(contract, top)
    return contract


def find_contract(name: str | Path) -> Path:
    """Return the file of a shipped contract's name, or of a path.

    Raises:
        ContractError: if there is none; lists the shipped names.
    """
    text = str(name)
    if "/" in text or text.endswith((".yaml", ".yml")):
        file = Path(text).expanduser()
        if not file.is_file():
            raise ContractError(f"{file}: there is no such contract file")
        return file
    names = shipped_contracts()
    if text in names:
        return resource_path(f"config/robots/{text}.yaml")
    near = difflib.get_close_matches(text, names, n=1)
    raise ContractError(
        f"there is no robot '{text}'; shipped are {', '.join(names)}."
        f" {f'Did you mean {near[0]}? ' if near else ''}Or give the path of a YAML file."
    )


def shipped_contracts() -> list[str]:
    """Return the names of the contracts that come with vla_ros."""
    folder = resource_path("config/robots")
    return sorted(file.stem for file in folder.glob("*.yaml"))


def _read_robot(top: Section, file: Path) -> RobotSpec:
    section = top.section("robot")
    urdf, base, tip = (section.text(key) for key in ("urdf", "base_link", "tip_frame"))
    section.finish()
    try:
        found = find_urdf(urdf, file.parent)
    except ContractError as error:
        raise ContractError(f"{file}: {error}") from error
    if found not in [root / urdf for root in resource_roots()]:  # the package's keep their name
        urdf = str(found.resolve())
    try:
        links = load_robot(urdf).links
    except ContractError as error:
        section.fail("urdf", str(error))
    if base not in links:
        section.fail(
            "base_link", f"expected a link of {urdf}, got '{base}'; they are {', '.join(links)}"
        )
    try:
        chain = load_chain(urdf, base, tip)
    except ContractError as error:
        section.fail("tip_frame", str(error))
    return RobotSpec(
        urdf=urdf, base_link=base, tip_frame=tip, kinematics_sha256=chain_sha256(chain)
    )


def _read_observations(section: Section) -> tuple[ObservationSpec, ...]:
    specs = []
    for feature in section.keys():  # noqa: SIM118 - a Section is no mapping
        kind = feature_kind(feature)
        if kind is None:
            section.fail(
                feature,
                f"unknown feature; expected {IMAGES}<camera>, {DEPTHS}<camera>, {IMU} or {STATE}",
            )
        specs.append(_read_observation(section.section(feature), feature, kind))
    features = {spec.feature for spec in specs}
    if STATE not in features:
        section.fail(STATE, "missing; the gate needs the joint states to know where the robot is")
    if not any(spec.kind is FeatureKind.IMAGE for spec in specs):
        section.fail(f"{IMAGES}<camera>", "missing; a policy needs one camera or more")
    if not next(spec for spec in specs if spec.feature == STATE).required:
        section.fail(f"{STATE}.required", "expected true, got false: nothing moves without it")
    section.finish()
    return tuple(specs)


def _read_observation(section: Section, feature: str, kind: FeatureKind) -> ObservationSpec:
    type_name = section.choice("type", MESSAGE_TYPES[kind])
    spec = ObservationSpec(
        feature=feature,
        topic=_read_topic(section),
        type=type_name,
        rate_hz=section.number("rate_hz", above=0.0),
        frame=section.text("frame"),
        max_age_s=section.number("max_age_s", above=0.0),
        required=section.flag("required", default=True),
    )
    if spec.camera:
        spec = replace(
            spec,
            encoding=section.choice("encoding", ENCODINGS[kind, type_name]),
            width=section.whole("width"),
            height=section.whole("height"),
        )
    if spec.max_age_s * spec.rate_hz < 1.0:
        section.fail(
            "max_age_s",
            f"expected at least one period ({1.0 / spec.rate_hz:g} s at {spec.rate_hz:g} Hz),"
            f" got {spec.max_age_s:g}; every sample would be too old before the next one",
        )
    section.finish()
    return spec


def _read_topic(section: Section) -> str:
    topic = section.text("topic")
    if not TOPIC.fullmatch(topic):
        section.fail(
            "topic",
            f"expected a topic's name, such as /camera/image_raw, got '{topic}'. It is made of"
            " parts of letters, digits and _ that begin with no digit, with one / between them.",
        )
    return topic


def _check_topics(
    observations: tuple[ObservationSpec, ...], command: CommandSpec, top: Section
) -> None:
    """Refuse commands on a sensor's topic: the gate would take them for measurements."""
    for spec in observations:
        if _full_name(spec.topic) == _full_name(command.topic):
            top.fail(
                "action.command.topic",
                f"expected a topic of its own, got '{command.topic}', the topic of {spec.feature}:"
                " the gate would take its own commands for what the sensor says",
            )


def _full_name(topic: str) -> str:
    return topic if topic.startswith("/") else f"{NAMESPACE}/{topic}"


def _read_action(section: Section) -> ActionSpec:
    command = section.section("command")
    command_spec = CommandSpec(
        topic=_read_topic(command), type=command.choice("type", COMMAND_TYPES)
    )
    command.finish()
    joints = section.section("joints")
    names = joints.keys()
    if not names:
        section.fail("joints", "expected one joint or more, got none")
    joint_specs = tuple(_read_joint(joints.section(name), name) for name in names)
    workspace = None
    if section.has("workspace"):
        box = section.section("workspace")
        (x0, x1), (y0, y1), (z0, z1) = (box.interval(axis) for axis in "xyz")
        box.finish()
        workspace = WorkspaceBox(lower=(x0, y0, z0), upper=(x1, y1, z1))
    action = ActionSpec(
        control_rate_hz=section.number("control_rate_hz", above=0.0),
        command=command_spec,
        joint_specs=joint_specs,
        workspace=workspace,
        blend_s=section.number("blend_s", above=0.0, default=0.1),
    )
    for spec in joint_specs:
        _check_resolution(joints.section(spec.name), spec, action.control_rate_hz)
    section.finish()
    return action


def _check_resolution(section: Section, spec: JointSpec, rate_hz: float) -> None:
    """Refuse a limit that comes to less than rounding in one control period."""
    for order, key in enumerate(("velocity", "acceleration", "jerk"), 1):
        smallest = 2.0 * SMALLEST_CHANGE_RAD * rate_hz**order
        if getattr(spec, key) < smallest:
            section.fail(
                key,
                f"expected at least {smallest:.3g} at a control rate of {rate_hz:g} Hz,"
                f" got {getattr(spec, key):g}",
            )


def _read_joint(section: Section, name: str) -> JointSpec:
    spec = JointSpec(
        name=name,
        unit=section.choice("unit", ("rad", "m"), "vla_ros works in SI units: convert to them."),
        position=section.interval("position"),
        velocity=section.number("velocity", above=0.0),
        acceleration=section.number("acceleration", above=0.0),
        jerk=section.number("jerk", above=0.0),
        home=section.number("home"),
    )
    if section.has("following_error"):
        spec = replace(spec, following_error=section.number("following_error", above=0.0))
    low, high = spec.position
    if not low <= spec.home <= high:
        section.fail("home", f"expected a position from {low:g} to {high:g}, got {spec.home:g}")
    section.finish()
    return spec
