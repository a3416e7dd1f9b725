"""Forward kinematics of a serial chain, read from a URDF. numpy only."""

from __future__ import annotations

import numpy as np

from vla_ros.core.types import FloatArray
from vla_ros.core.urdf import Urdf, UrdfJoint


def cross_matrix(axis: FloatArray) -> FloatArray:
    """Return the matrix, shape (3, 3), that takes a vector to its cross product with `axis`."""
    x, y, z = axis.tolist()
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


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
        return cls.between(Urdf.parse(urdf), base, tip)

    @classmethod
    def between(cls, robot: Urdf, base: str, tip: str) -> Chain:
        """Return the chain from link `base` to link `tip` of a robot.

        Raises:
            UserError: if there is no chain between the two links.
        """
        return cls._from_joints(robot.path(base, tip))

    @classmethod
    def _from_joints(cls, joints: list[UrdfJoint]) -> Chain:
        moving: list[UrdfJoint] = []
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
