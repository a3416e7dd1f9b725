"""Keep the tool centre point inside the workspace box, now and through the whole way to a stop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.core.kinematics import Chain
from vla_ros.core.limits import WorkspaceBox
from vla_ros.core.types import FloatArray
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
            raise ValueError(
                f"workspace: joints {', '.join(missing)} of the chain are not among"
                f" the commanded joints {', '.join(joint_names)}"
            )
        self.box = box
        self._active = box
        self._chain = chain
        self._columns = [joint_names.index(name) for name in chain.names]
        self._levers = [lever / UNITS_PER_RAD for lever in chain.levers().tolist()]

        self._anchor: list[int] | None = None
        self._clearance = 0.0

    def reset(self, position: FloatArray) -> None:
        """Start at joint positions `position` in [rad], shape (n,), inside the box or not."""
        self._anchor = None
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

    def fault_of_step(
        self, motions: Sequence[JointMotion], accelerations: Sequence[int], target: FloatArray
    ) -> str:
        """Return which face is in the way of a step, or "" when it may be taken.

        The way is the step, the braking motion after it, and the target that the step is towards.

        Args:
            motions: The joints before the step, n of them.
            accelerations: The step, in the units of the motions.
            target: Where the step leads in [rad], shape (n,).
        """
        joints = [(motions[i], accelerations[i]) for i in self._columns]
        if self._far_from_faces(joints):
            return ""
        paths = [motion.braking_path(a) for motion, a in joints]
        length = max(map(len, paths))
        table = np.array([path + path[-1:] * (length - len(path)) for path in paths])
        positions = np.concatenate([table.T / UNITS_PER_RAD, target[None, self._columns]])
        points = self._chain.tip_positions(positions)  # (T, 3)
        self._anchor = None
        if self._active is not self.box and _inside(points[:-1], self.box):
            self._active = self.box
        if _inside(points, self._active):
            return ""
        low, high = points.min(axis=0), points.max(axis=0)
        return self._active.fault(low) or self._active.fault(high)

    def _far_from_faces(self, joints: list[tuple[JointMotion, int]]) -> bool:
        """Return whether no face of the box can be reached, by a bound that is quick to compute.

        The bound is a distance that was computed at an anchor, less what the joints have moved
        since and can still move; the anchor is renewed when it is used up.
        """
        if self._active is not self.box:
            return False
        reach, moved = 0.0, 0.0
        for index, ((motion, a), lever) in enumerate(zip(joints, self._levers, strict=True)):
            v = motion.v + a
            reach += lever * (abs(v) + motion.reach(v, a))
            if self._anchor is not None:
                moved += lever * abs(motion.q - self._anchor[index])
        if self._anchor is None or reach + moved > self._clearance:
            moved = 0.0
            self._anchor = [motion.q for motion, _ in joints]
            q = np.array(self._anchor)[None] / UNITS_PER_RAD
            point = self._chain.tip_positions(q)[0].tolist()
            self._clearance = min(
                min(value - low, high - value)
                for low, value, high in zip(self.box.lower, point, self.box.upper, strict=True)
            )
        return reach + moved <= self._clearance


def _inside(points: FloatArray, box: WorkspaceBox) -> bool:
    return bool(((points >= box.lower) & (points <= box.upper)).all())


def _triple(values: FloatArray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
