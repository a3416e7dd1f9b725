"""Forward kinematics of a serial chain, read from a URDF. numpy only."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.core.types import FloatArray


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


def cross_matrix(axis: FloatArray) -> FloatArray:
    """Return the matrix, shape (3, 3), that takes a vector to its cross product with `axis`."""
    x, y, z = axis.tolist()
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Joint:
    name: str
    kind: str
    parent: str
    T_parent_joint: FloatArray
    axis: FloatArray
    lower: float
    upper: float


class Chain:
    """The moving joints between a base link and a tip link.

    Attributes:
        names: Joint names from base to tip, n of them.
        origins: T_previous_joint of each joint at zero, shape (n, 4, 4); fixed joints folded in.
        axes: Unit axis of each joint in its own frame, shape (n, 3).
        lower: Lowest positions in [rad] or [m], shape (n,); -inf for continuous joints.
        upper: Highest positions in [rad] or [m], shape (n,); inf for continuous joints.
        tip: T_lastjoint_tip, shape (4, 4).
    """

    def __init__(
        self,
        *,
        names: tuple[str, ...],
        origins: FloatArray,
        axes: FloatArray,
        prismatic: tuple[bool, ...],
        lower: FloatArray,
        upper: FloatArray,
        tip: FloatArray,
    ) -> None:
        """Take the parts; `from_urdf` is the usual way."""
        self.names = names
        self.origins = origins
        self.axes = axes
        self.prismatic = prismatic
        self.lower = lower
        self.upper = upper
        self.tip = tip
        # R(q) = fixed + sin(q) * sine + cos(q) * cosine: Rodrigues with the origin folded in
        self._slides = np.array(prismatic)
        turns = np.where(self._slides[:, None, None], 0.0, 1.0)
        cross = np.array([cross_matrix(axis) for axis in axes]).reshape(-1, 3, 3)
        rotations = origins[:, :3, :3]
        square = turns * (rotations @ cross @ cross)
        self._fixed = rotations + square
        self._sine = turns * (rotations @ cross)
        self._cosine = -square
        self._offsets = origins[:, :3, 3]
        self._slide_axes = np.einsum("nij,nj->ni", rotations, axes) * self._slides[:, None]
        self._any_slide = bool(self._slides.any())

    @classmethod
    def from_urdf(cls, urdf: str, base: str, tip: str) -> Chain:
        """Return the chain from link `base` to link `tip` of a URDF given as XML text.

        Raises:
            UserError: if the text is no URDF, or has no chain between the two links.
        """
        try:
            root = ET.fromstring(urdf)
        except ET.ParseError as error:
            raise UserError(f"urdf: not XML ({error}); process xacro files first") from error
        children = {_attribute(j, "child", "link"): _read_joint(j) for j in root.findall("joint")}
        links = [link.get("name", "") for link in root.findall("link")]
        joints: list[_Joint] = []
        link = tip
        while link != base:
            if link not in children or len(joints) > len(children):
                raise UserError(
                    f"urdf: no chain from link '{base}' to link '{tip}';"
                    f" the links are {', '.join(links)}"
                )
            joints.append(children[link])
            link = joints[-1].parent
        return cls._from_joints(joints[::-1])

    @classmethod
    def _from_joints(cls, joints: list[_Joint]) -> Chain:
        moving: list[_Joint] = []
        origins: list[FloatArray] = []
        pending = np.eye(4)
        for joint in joints:
            pending = pending @ joint.T_parent_joint
            if joint.kind != "fixed":
                moving.append(joint)
                origins.append(pending)
                pending = np.eye(4)
        return cls(
            names=tuple(j.name for j in moving),
            origins=np.array(origins).reshape(-1, 4, 4),
            axes=np.array([j.axis for j in moving]).reshape(-1, 3),
            prismatic=tuple(j.kind == "prismatic" for j in moving),
            lower=np.array([j.lower for j in moving]),
            upper=np.array([j.upper for j in moving]),
            tip=pending,
        )

    def frames(self, q: FloatArray) -> FloatArray:
        """Return T_base_joint of every joint after its motion, then T_base_tip.

        Args:
            q: Joint positions in [rad] or [m], shape (n,).

        Returns:
            Shape (n + 1, 4, 4).
        """
        rotations, offsets = self._steps(np.asarray(q, dtype=np.float64)[None])
        frame = np.eye(4)
        result = []
        for rotation, offset in zip(rotations[0], offsets[0], strict=True):
            step = np.eye(4)
            step[:3, :3], step[:3, 3] = rotation, offset
            frame = frame @ step
            result.append(frame)
        result.append(frame @ self.tip)
        return np.array(result)

    def forward(self, q: FloatArray) -> FloatArray:
        """Return T_base_tip, shape (4, 4), for positions `q` in [rad] or [m], shape (n,)."""
        return np.asarray(self.frames(q)[-1])

    def points(self, q: FloatArray) -> FloatArray:
        """Return the origin of every joint and of the tip in [m], shape (n + 1, 3)."""
        return self.frames(q)[:, :3, 3]

    def tip_positions(self, q: FloatArray) -> FloatArray:
        """Return where the tip is in [m], shape (m, 3), for positions `q`, shape (m, n)."""
        rotations, offsets = self._steps(q)
        points = np.broadcast_to(self.tip[:3, 3, None], (len(q), 3, 1))
        for index in range(len(self.names) - 1, -1, -1):
            points = rotations[:, index] @ points + offsets[:, index, :, None]
        return points[:, :, 0]

    def levers(self) -> FloatArray:
        """Return a bound on how far the tip moves per unit of each joint, shape (n,).

        In [m/rad], the longest distance that the tip can have from the joint; 1 if prismatic.
        """
        lengths = [float(np.linalg.norm(o)) for o in self._offsets[1:]]
        lengths.append(float(np.linalg.norm(self.tip[:3, 3])))
        travel = [
            max(abs(low), abs(high)) if slides else 0.0
            for slides, low, high in zip(self.prismatic, self.lower, self.upper, strict=True)
        ]
        downstream = [sum(lengths[i:]) + sum(travel[i + 1 :]) for i in range(len(self.names))]
        return np.where(self._slides, 1.0, np.array(downstream))

    def _steps(self, q: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return rotations (m, n, 3, 3) and offsets (m, n, 3) of every joint."""
        sine, cosine = np.sin(q)[..., None, None], np.cos(q)[..., None, None]
        rotations = self._fixed + sine * self._sine + cosine * self._cosine
        if self._any_slide:
            return rotations, self._offsets + q[..., None] * self._slide_axes
        return rotations, np.broadcast_to(self._offsets, (*q.shape, 3))


def _attribute(element: ET.Element, child: str, key: str) -> str:
    found = element.find(child)
    value = None if found is None else found.get(key)
    if value is None:
        raise UserError(f"urdf: joint '{element.get('name')}' lacks <{child} {key}=...>")
    return value


def _vector(text: str | None, default: str, where: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(part) for part in (text or default).split())
    except ValueError as error:
        raise UserError(f"urdf: {where}: expected three numbers, got '{text}'") from error
    return x, y, z


def _read_joint(element: ET.Element) -> _Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in ("fixed", "revolute", "continuous", "prismatic"):
        raise UserError(
            f"urdf: joint '{name}' has type '{kind}'; expected fixed, revolute,"
            " continuous or prismatic"
        )
    origin, axis, limit = (element.find(tag) for tag in ("origin", "axis", "limit"))
    frame = np.eye(4)
    if origin is not None:
        where = f"origin of joint '{name}'"
        frame[:3, 3] = _vector(origin.get("xyz"), "0 0 0", where)
        frame[:3, :3] = rotation_from_rpy(_vector(origin.get("rpy"), "0 0 0", where))
    direction = np.array(
        _vector(None if axis is None else axis.get("xyz"), "1 0 0", f"axis of joint '{name}'")
    )
    length = float(np.linalg.norm(direction))
    if kind != "fixed" and not length > 1e-9:
        raise UserError(f"urdf: joint '{name}' has the axis 0 0 0")
    bounded = limit is not None and kind in ("revolute", "prismatic")
    return _Joint(
        name=name,
        kind=kind,
        parent=_attribute(element, "parent", "link"),
        T_parent_joint=frame,
        axis=direction / length if length > 0 else direction,
        lower=float(limit.get("lower", "0")) if bounded and limit is not None else -np.inf,
        upper=float(limit.get("upper", "0")) if bounded and limit is not None else np.inf,
    )
