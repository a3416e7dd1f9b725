"""A robot's links and joints, read from a URDF. numpy only."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.core.types import FloatArray

#: The joint types that are understood, with the unit of their position.
UNITS = {"fixed": "", "revolute": "rad", "continuous": "rad", "prismatic": "m"}


def rotation_from_rpy(rpy: tuple[float, float, float]) -> FloatArray:
    """Return the rotation matrix, shape (3, 3), of fixed-axis roll, pitch, yaw in [rad]."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy).tolist(), np.sin(rpy).tolist()
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UrdfJoint:
    """One joint of a URDF.

    Attributes:
        name: Its name.
        kind: "fixed", "revolute", "continuous" or "prismatic".
        parent: Link that it hangs on.
        child: Link that it carries.
        T_parent_joint: Its frame at zero, shape (4, 4).
        axis: Unit axis in its own frame, shape (3,).
        lower: Lowest position in [rad] or [m]; -inf where there is no limit.
        upper: Highest position in [rad] or [m]; inf where there is no limit.
        velocity: Highest speed in [rad/s] or [m/s]; inf where there is no limit.
    """

    name: str
    kind: str
    parent: str
    child: str
    T_parent_joint: FloatArray
    axis: FloatArray
    lower: float
    upper: float
    velocity: float

    @property
    def unit(self) -> str:
        """Unit of the position: "rad", "m", or "" for a fixed joint."""
        return UNITS[self.kind]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Urdf:
    """The links and joints of a robot, in the order of the file."""

    links: tuple[str, ...]
    joints: tuple[UrdfJoint, ...]

    @classmethod
    def parse(cls, text: str) -> Urdf:
        """Return what a URDF says, given as XML text.

        Raises:
            UserError: if the text is no URDF; names the joint that is at fault.
        """
        try:
            root = ET.fromstring(text)
        except ET.ParseError as error:
            raise UserError(f"urdf: not XML ({error}); process xacro files first") from error
        if root.tag != "robot":
            raise UserError(f"urdf: expected a <robot>, got a <{root.tag}>")
        return cls(
            links=tuple(link.get("name", "") for link in root.findall("link")),
            joints=tuple(_read_joint(joint) for joint in root.findall("joint")),
        )

    def path(self, base: str, tip: str) -> list[UrdfJoint]:
        """Return the joints from link `base` to link `tip`, fixed ones included.

        Raises:
            UserError: if there is no chain between the two links.
        """
        carried_by = {joint.child: joint for joint in self.joints}
        joints: list[UrdfJoint] = []
        link = tip
        while link != base:
            if link not in carried_by or len(joints) > len(carried_by):
                raise UserError(
                    f"urdf: no chain from link '{base}' to link '{tip}';"
                    f" the links are {', '.join(self.links)}"
                )
            joints.append(carried_by[link])
            link = joints[-1].parent
        return joints[::-1]


def _read_joint(element: ET.Element) -> UrdfJoint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in UNITS:
        raise UserError(
            f"urdf: joint '{name}' has type '{kind}'; expected fixed, revolute,"
            " continuous or prismatic"
        )
    lower, upper, velocity = _read_limit(element, name, kind)
    return UrdfJoint(
        name=name,
        kind=kind,
        parent=_attribute(element, "parent", "link"),
        child=_attribute(element, "child", "link"),
        T_parent_joint=_read_origin(element, name),
        axis=_read_axis(element, name, kind),
        lower=lower,
        upper=upper,
        velocity=velocity,
    )


def _read_origin(element: ET.Element, name: str) -> FloatArray:
    frame, origin = np.eye(4), element.find("origin")
    if origin is not None:
        where = f"origin of joint '{name}'"
        frame[:3, 3] = _vector(origin.get("xyz"), "0 0 0", where)
        frame[:3, :3] = rotation_from_rpy(_vector(origin.get("rpy"), "0 0 0", where))
    return frame


def _read_axis(element: ET.Element, name: str, kind: str) -> FloatArray:
    axis = element.find("axis")
    text = None if axis is None else axis.get("xyz")
    direction = np.array(_vector(text, "1 0 0", f"axis of joint '{name}'"))
    length = float(np.linalg.norm(direction))
    if kind != "fixed" and not length > 1e-9:
        raise UserError(f"urdf: joint '{name}' has the axis 0 0 0")
    return direction / length if length > 0 else direction


def _read_limit(element: ET.Element, name: str, kind: str) -> tuple[float, float, float]:
    """Return lowest position, highest position and highest speed."""
    limit = element.find("limit")
    if limit is None:
        return -np.inf, np.inf, np.inf
    velocity = _number(limit, "velocity", "inf", name)
    if kind not in ("revolute", "prismatic"):
        return -np.inf, np.inf, velocity
    return _number(limit, "lower", "0", name), _number(limit, "upper", "0", name), velocity


def _attribute(element: ET.Element, child: str, key: str) -> str:
    found = element.find(child)
    value = None if found is None else found.get(key)
    if value is None:
        raise UserError(f"urdf: joint '{element.get('name')}' lacks <{child} {key}=...>")
    return value


def _number(limit: ET.Element, key: str, default: str, joint: str) -> float:
    text = limit.get(key, default)
    try:
        return float(text)
    except ValueError as error:
        raise UserError(
            f"urdf: limit of joint '{joint}': {key}: expected a number, got '{text}'"
        ) from error


def _vector(text: str | None, default: str, where: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(part) for part in (text or default).split())
    except ValueError as error:
        raise UserError(f"urdf: {where}: expected three numbers, got '{text}'") from error
    return x, y, z
