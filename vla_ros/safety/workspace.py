"""Keep the tool centre point inside the workspace box, now and through the whole way to a stop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.core.kinematics import Chain
from vla_ros.core.types import FloatArray
from vla_ros.safety.limits import WorkspaceBox
from vla_ros.safety.motion import UNITS_PER_RAD, JointMotion

_SLACK_M = 0.02


class WorkspaceGuard:
    """Says whether a step is allowed: the braking motion after it must stay inside the box.

    As with the joint limits, what is left of an allowed braking motion is allowed too, so braking
    is always a way out. A robot that starts outside may move, but no further out than 2 cm beyond
    where it started; once it is inside, the box is the box.
    """

    def __init__(self, box: WorkspaceBox, chain: Chain, joint_names: tuple[str, ...]) -> None:
        """Guard the tip of `chain`.

        Args:
            box: Where the tip may be, in the frame of the chain's base.
            chain: From the robot's base to the tool centre point.
            joint_names: Joints in the order of the commands.

        Raises:
            ValueError: if a joint of the chain is not commanded; names it.
        """
        missing = [name for name in chain.names if name not in joint_names]
        if missing:
            raise ValueError(f"workspace: joints {', '.join(missing)} of the chain are not among"
                             f" the commanded joints {', '.join(joint_names)}")
        self.box = box
        self._active = box
        self._chain = chain
        self._columns = [joint_names.index(name) for name in chain.names]
        self._levers = [lever / UNITS_PER_RAD for lever in chain.levers().tolist()]

    def reset(self, position: FloatArray) -> None:
        """Start at joint positions `position` in [rad], shape (n,), inside the box or not."""
        point = self.tip(position)
        low, high = np.array(self.box.lower), np.array(self.box.upper)
        outside = (point < low) | (point > high)
        if outside.any():
            low = np.where(point < low, point - _SLACK_M, low)
            high = np.where(point > high, point + _SLACK_M, high)
            self._active = WorkspaceBox(lower=_triple(low), upper=_triple(high))
        else:
            self._active = self.box

    def tip(self, position: FloatArray) -> FloatArray:
        """Return where the tip is in [m], shape (3,), at joint positions [rad], shape (n,)."""
        return np.asarray(self._chain.tip_positions(position[None, self._columns])[0])

    def fault(self, target: FloatArray) -> str:
        """Return which face of the box `target` [rad], shape (n,), lies beyond, or ""."""
        return self._active.fault(self.tip(target))

    def fault_of_step(self, motions: Sequence[JointMotion], accelerations: Sequence[int]) -> str:
        """Return which face the robot would cross if it took the step and then braked, or "".

        Args:
            motions: The joints before the step, n of them.
            accelerations: The step, in the units of the motions.
        """
        joints = [(motions[i], accelerations[i]) for i in self._columns]
        if self._active is self.box and self._far_from_faces(joints):
            return ""
        paths = [motion.braking_path(a) for motion, a in joints]
        length = max(map(len, paths))
        table = np.array([path + path[-1:] * (length - len(path)) for path in paths])
        points = self._chain.tip_positions(table.T / UNITS_PER_RAD)  # (T, 3)
        if self._active is not self.box and self._inside(points, self.box):
            self._active = self.box
        if self._inside(points, self._active):
            return ""
        low, high = points.min(axis=0), points.max(axis=0)
        return self._active.fault(low) or self._active.fault(high)

    def _far_from_faces(self, joints: list[tuple[JointMotion, int]]) -> bool:
        """Return whether no face can be reached, by a bound that is quick to compute."""
        stray = 0.0
        for (motion, a), lever in zip(joints, self._levers, strict=True):
            v = motion.v + a
            stray += lever * (abs(v) + motion.reach(v, a))
        q = np.array([motion.q for motion, _ in joints]) / UNITS_PER_RAD
        point = self._chain.tip_positions(q[None])[0].tolist()
        return all(low + stray <= value <= high - stray for low, value, high
                   in zip(self.box.lower, point, self.box.upper, strict=True))

    @staticmethod
    def _inside(points: FloatArray, box: WorkspaceBox) -> bool:
        return bool(((points >= box.lower) & (points <= box.upper)).all())


def _triple(values: FloatArray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
