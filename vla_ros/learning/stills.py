"""Rendered states at random poses: for the eyes, scenes matter more than motion."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.random import Generator

from vla_ros.core.types import FloatArray
from vla_ros.learning.experts import HORIZON
from vla_ros.learning.rollouts import Record, keep_image, keep_state, meta_of
from vla_ros.sim.environment import Environment
from vla_ros.sim.layout import SHOULDER_X
from vla_ros.sim.scenes import Scene
from vla_ros.sim.tabletop import JOINTS, Tabletop

#: Share of the poses that are near an object, how near [m], and the heights of the tcp [m].
NEAR_SHARE, NEAR_M, HEIGHT_M = 0.7, 0.07, (0.008, 0.19)
#: The sum of shoulder_lift, elbow_flex and wrist_flex at which the gripper points down [rad].
POINTING_DOWN = 1.6
MOST_DRAWS = 400


def take_stills(environment: Environment, scene: Scene, rng: Generator, count: int) -> Record:
    """Render `count` states of a scene with the arm at random poses above the table.

    They are for the eyes alone: an arm that stands still is nothing to imitate.
    """
    environment.reset(scene)
    table = environment.table
    record = Record(texts=scene.text, meta=meta_of(table, imitate=False))
    for _ in range(count):
        pose = _draw_pose(table, rng)
        keep_state(record, table, pose, np.tile(pose, (HORIZON, 1)), 0.0)
        keep_image(record, table)
    return record


def _draw_pose(table: Tabletop, rng: Generator) -> FloatArray:
    """Put the arm at a random pose, half-way between chance and what tasks need; return it."""
    addresses = [int(table.model.joint(name).qposadr[0]) for name in JOINTS]
    item = _any_object(table, rng)
    near = rng.random() < NEAR_SHARE
    bearing = np.arctan2(item[1], item[0] - SHOULDER_X)
    pose = table.joint_positions
    for _ in range(MOST_DRAWS):
        pan = -bearing + rng.normal(0, 0.2) if near else rng.uniform(-1.05, 1.05)
        lift, elbow = rng.uniform(-1.05, 0.85), rng.uniform(-1.1, 1.0)
        flex = np.clip(POINTING_DOWN - lift - elbow, 0.9, 1.66) + rng.normal(0, 0.06)
        pose = np.array([pan, lift, elbow, flex, rng.normal(0, 0.04), rng.uniform(-0.05, 1.05)])
        table.data.qpos[addresses] = pose
        mujoco.mj_kinematics(table.model, table.data)
        tcp = table.data.site("tcp").xpos
        away = float(np.hypot(*(tcp - item)[:2]))
        if HEIGHT_M[0] <= tcp[2] <= HEIGHT_M[1] and (away <= NEAR_M or not near):
            break
    mujoco.mj_forward(table.model, table.data)
    return pose


def _any_object(table: Tabletop, rng: Generator) -> FloatArray:
    """Return the position of one of the scene's objects (3,) [m]."""
    objects = table.scene.objects
    return np.array(table.data.body(objects[int(rng.integers(len(objects)))].name).xpos)
