"""Inverse kinematics of the arm for the experts, with mink."""

from __future__ import annotations

import math

import mink
import mujoco
import numpy as np

from vla_ros.core.types import FloatArray
from vla_ros.sim.layout import HOME, SHOULDER_X
from vla_ros.sim.model import JOINTS, STIFFNESS, build_model

#: Below the gate's limit, so that what is demonstrated can be followed [rad/s].
SPEED = 2.0


class ArmKinematics:
    """Joint positions that bring the tcp to a point with the fingers pointing down.

    Five joints cannot hold every orientation, so the position weighs more: far out the hand tilts.
    """

    def __init__(self) -> None:
        """Build the robot alone, without a scene."""
        self._model = build_model(None)
        self._configuration = mink.Configuration(self._model)
        self._task = mink.FrameTask(
            frame_name="tcp",
            frame_type="site",
            position_cost=1.0,
            orientation_cost=0.02,
            lm_damping=1e-4,
        )
        self._posture = mink.PostureTask(self._model, cost=1e-4)
        self._posture.set_target(HOME)
        self._limits = [
            mink.ConfigurationLimit(self._model),
            mink.VelocityLimit(self._model, {name: np.array([SPEED]) for name in JOINTS}),
        ]

    def tcp(self, positions: FloatArray) -> FloatArray:
        """Return the tcp's position (3,) [m] in base_link at joint positions (6,) [rad]."""
        self._configuration.update(positions)
        site = self._configuration.data.site("tcp")
        return np.array(site.xpos)

    def sag(self, positions: FloatArray) -> FloatArray:
        """Return how far the servos hang below their targets (6,) [rad] under the arm's weight."""
        data = self._configuration.data
        data.qpos[:] = positions
        data.qvel[:] = 0.0
        mujoco.mj_fwdPosition(self._model, data)
        force = np.zeros(self._model.nv)
        mujoco.mj_rne(self._model, data, 0, force)
        force[5] = 0.0
        return -force / STIFFNESS

    def follow(self, start: FloatArray, point: FloatArray, dt_s: float) -> FloatArray:
        """Return joint positions (6,) that `start` can become in `dt_s`, the tcp near `point` [m].

        The gripper joint keeps its value. Along a path of small steps the tcp is on the path; the
        fingers turn downwards as fast as the joints' speed allows beside that.
        """
        self._task.set_target(_downward(point))
        self._configuration.update(start)
        velocity = mink.solve_ik(
            self._configuration, [self._task, self._posture], dt_s, "daqp", limits=self._limits
        )
        self._configuration.integrate_inplace(velocity, dt_s)
        solved = np.array(self._configuration.q)
        solved[5] = start[5]
        return solved


def _downward(point: FloatArray) -> mink.SE3:
    """The pose at `point` whose x axis points down and whose z axis points away from the base."""
    bearing = math.atan2(point[1], point[0] - SHOULDER_X)
    outward = np.array([math.cos(bearing), math.sin(bearing), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    rotation = np.stack([down, np.cross(outward, down), outward], axis=1)
    return mink.SE3.from_rotation_and_translation(mink.SO3.from_matrix(rotation), point)
