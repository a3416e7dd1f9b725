"""What the scripted experts decide from, and how it goes on when they have decided.

The look-ahead is not physics: a step of 50 ms with perfect tracking, in which what is held or
pushed goes along and what is let go falls to what is below it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from vla_ros.core.types import FloatArray
from vla_ros.sim.layout import DIRECTIONS, SHOULDER_X
from vla_ros.sim.tabletop import Tabletop

STEP_S = 0.05
SPEED = 0.28  # [m/s] of the tcp
GRIPPER_SPEED = 3.0  # [rad/s]
PAD_OFFSET = 0.014  # [m] from the tcp to the fixed finger's pad
PUSH_CONTACT = 0.009  # [m] from the pushed thing's side to the middle of the closed fingers
LETS_GO = 0.03  # [rad]: commanded so much wider than it is open, a gripper has let go
IN_CONTAINER, ON_BASE = 0.036, 0.013  # [m] aside at most, what is let go rests there
CONTAINER_FLOOR = 0.006  # [m] above the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What an expert decides from; positions (3,) [m] in base_link, angles [rad].

    `gripper` is where the gripper is, `gripper_command` where it is told to be: apart by as much
    as it presses on what it holds.
    """

    tcp: FloatArray
    gripper: float
    gripper_command: float
    item: FloatArray
    half: float
    held: bool
    start: FloatArray
    target: FloatArray | None
    target_top: float
    along: FloatArray | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Where the tcp and the gripper go next, and how far the task has come (1: done)."""

    point: FloatArray
    gripper: float
    progress: float


def look(table: Tabletop) -> Situation:
    """Read the situation from the simulator's state."""
    scene = table.scene
    item = scene.find(scene.named)
    target, top = None, 0.0
    if scene.target is not None:
        target = np.array(table.data.body(scene.target).xpos)
        top = (
            target[2] + scene.find(scene.target).half_size
            if scene.skill == "stack"
            else CONTAINER_FLOOR
        )
    touching = table.judge.finger_contacts(item.name)
    along = None
    if scene.direction is not None:
        along = np.array([*DIRECTIONS[scene.direction], 0.0])
    return Situation(
        tcp=np.array(table.data.site("tcp").xpos),
        gripper=float(table.joint_positions[5]),
        gripper_command=float(table.command[5]),
        item=np.array(table.data.body(item.name).xpos),
        half=item.half_size,
        held=len(touching) == 2,
        start=table.judge.start_of(item.name),
        target=target,
        target_top=float(top),
        along=along,
    )


def advance(now: Situation, move: Move) -> Situation:
    """One step of 50 ms with perfect tracking."""
    error = move.point - now.tcp
    distance = float(np.linalg.norm(error))
    reach = min(SPEED * STEP_S, max(0.3 * distance, min(distance, 0.003)))
    shift = error * (reach / distance) if distance > 1e-6 else np.zeros(3)
    command = _turn(now.gripper_command, move.gripper)
    moved = replace(now, tcp=now.tcp + shift, gripper_command=command)
    gripper = _turn(now.gripper, command)
    if now.along is not None:
        item = now.item + _pushed(moved, float(shift @ now.along))
        return replace(moved, gripper=gripper, item=item, held=False)
    if now.held:
        held, item = command < now.gripper + LETS_GO, now.item + shift
        if not held:
            item[2] = min(item[2], _support(now, item))
        return replace(moved, gripper=max(now.gripper, gripper), item=item, held=held)
    grip, gap = grip_angle(now.half), now.item - now.tcp
    inside = np.linalg.norm(gap[:2]) < 0.02 and abs(gap[2]) < 0.02
    # the pads press for a while before they hold
    held = bool(inside and move.gripper < grip and gripper <= grip - 0.3)
    return replace(moved, gripper=grip if held else gripper, held=held)


def _turn(angle: float, goal: float) -> float:
    """Return a gripper angle [rad] one step nearer to another."""
    most = GRIPPER_SPEED * STEP_S
    return angle + float(np.clip(goal - angle, -most, most))


def _support(now: Situation, item: FloatArray) -> float:
    """Return the height [m] at which a thing comes to rest that is let go at `item`."""
    if now.target is None:
        return now.half
    reach = ON_BASE if now.target_top > CONTAINER_FLOOR else IN_CONTAINER
    over = np.linalg.norm((item - now.target)[:2]) <= reach
    return (now.target_top if over else 0.0) + now.half


def _pushed(now: Situation, travel: float) -> FloatArray:
    """Return how far (3,) [m] the closed fingers, `travel` [m] further, have pushed the thing."""
    assert now.along is not None
    lag, across = beside(now)
    overlap = lag + now.half + PUSH_CONTACT
    meets = now.tcp[2] < 0.035 and np.linalg.norm(across) <= now.half + 0.006 and lag < now.half
    return now.along * (max(0.0, min(travel, overlap)) if meets else 0.0)


def beside(now: Situation) -> tuple[float, FloatArray]:
    """Return where the closed fingers are from the pushed thing [m].

    How far along the push, negative behind it, and the way across it, (3,), level.
    """
    assert now.along is not None
    relative = now.tcp - PAD_OFFSET * outward(now.tcp) - now.item
    lag = float(relative @ now.along)
    across = relative - lag * now.along
    across[2] = 0
    return lag, across


def grip_angle(half: float) -> float:
    """The gripper angle [rad] at which the pads touch an object of the half size."""
    return 0.35 + 2 * (half - PAD_OFFSET) / 0.07


def outward(point: FloatArray) -> FloatArray:
    """The horizontal direction, away from the pan axis, in which the jaw opens."""
    bearing = math.atan2(point[1], point[0] - SHOULDER_X)
    return np.array([math.cos(bearing), math.sin(bearing), 0.0])
