"""Scripted experts: from the simulator's state, the chunk a good operator would command next.

Used to make demonstrations and to relabel a learner's states (DAgger); the running policy has no
access to them. An expert has no memory: it decides from the present state alone, so that it can
label any state that a learner gets itself into.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vla_ros.core.types import FloatArray
from vla_ros.learning.inverse_kinematics import ArmKinematics
from vla_ros.learning.look_ahead import (
    CONTAINER_FLOOR,
    IN_CONTAINER,
    ON_BASE,
    PAD_OFFSET,
    PUSH_CONTACT,
    STEP_S,
    Move,
    Situation,
    advance,
    beside,
    grip_angle,
    look,
    outward,
)
from vla_ros.sim.tabletop import Tabletop

#: Rows of a demonstrated chunk; a policy learns as many of them as it decides itself.
HORIZON = 16
SAFE_Z = 0.088  # [m] above everything that stands on the table
OPEN, CLOSED = 0.95, -0.1  # [rad] gripper targets
PAD_CLEARANCE = 0.006  # [m] left between pad and object before the fingers close
PUSH_TRAVEL, PUSH_ENOUGH = 0.075, 0.063  # [m]; the task asks for 0.04
PUSH_LEAD = 0.8  # of the half size: how far past the object's middle a push may be commanded
#: How far a held thing may be aside when it is let go [m]: as far as the task allows, since a
#: learner that is to be surer than its eyes can be never lets go.
PLACE_ALIGNED, STACK_ALIGNED = 0.014, 0.0075


class Expert:
    """Labels a state of the table with a chunk of joint position targets."""

    def __init__(self) -> None:
        """Prepare the arm's inverse kinematics."""
        self._arm = ArmKinematics()

    def chunk(self, table: Tabletop) -> tuple[FloatArray, float]:
        """Return joint targets (HORIZON, 6) [rad], one each 50 ms, and the progress now.

        The chunk is the expert's plan played forward under perfect tracking, with the object
        following the hand while it is held or pushed, and falling when it is let go.
        """
        sag = self._arm.sag(table.joint_positions)
        # planned from where the command in force leads, not from where the arm still is: chunks
        # that begin where the last one had come to join without a step
        positions = table.command + sag
        situation = replace(look(table), tcp=self._arm.tcp(positions))
        decide = DECISIONS[table.scene.skill]
        first = decide(situation)
        rows = []
        for _ in range(HORIZON):
            move = decide(situation)
            situation = advance(situation, move)
            positions = self._arm.follow(positions, situation.tcp, STEP_S)
            positions[5] = situation.gripper_command
            rows.append(positions - sag)
        return np.array(rows), first.progress


def _over(now: Situation, point: FloatArray, cone: float) -> FloatArray:
    """A way to `point` from above, through a funnel: the further aside, the higher."""
    error = (point - now.tcp)[:2]
    aside = float(np.linalg.norm(error))
    height = min(point[2] + 5.0 * max(aside - cone, 0.0), max(SAFE_Z, point[2]))
    low = height - now.tcp[2]
    if low > 0.015 and aside > 0.02:  # rise before crossing
        return np.array([*(now.tcp[:2] + 0.3 * min(1.0, 0.02 / low) * error), height])
    return np.array([point[0], point[1], height])


def _grasp(now: Situation) -> Move:
    """Bring the open fingers around the object and close them."""
    offset = now.half - PAD_OFFSET + PAD_CLEARANCE
    height = max(now.item[2] - 0.002, 0.012)
    point = now.item - offset * outward(now.item)
    point[2] = height
    error = point - now.tcp
    aside = float(np.linalg.norm(error[:2]))
    between = aside <= 0.011 and abs(error[2]) <= 0.008
    closing = now.gripper < OPEN - 0.2 and aside <= 0.02 and abs(error[2]) <= 0.012
    if between or closing:
        settled = np.array([*now.tcp[:2], height]) if closing else point
        return Move(point=settled, gripper=CLOSED, progress=0.4)
    low = now.tcp[2] < height + now.half + 0.03
    if low and aside > 0.014 and now.gripper < OPEN - 0.2:
        return Move(point=np.array([*now.tcp[:2], SAFE_Z]), gripper=OPEN, progress=0.1)
    return Move(
        point=_over(now, point, 0.006),
        gripper=OPEN,
        progress=0.1 if aside > 0.03 else 0.25,
    )


def _reach(now: Situation) -> Move:
    point = now.item + np.array([0, 0, now.half + 0.03])
    near = float(np.linalg.norm(point - now.tcp))
    progress = 1.0 if near <= 0.018 else (0.6 if near < 0.06 else 0.2)
    return Move(point=_over(now, point, 0.02), gripper=OPEN, progress=progress)


def _lift(now: Situation) -> Move:
    gained = now.item[2] - now.start[2]
    if not now.held:
        return _grasp(now)
    point = np.array([*now.tcp[:2], max(SAFE_Z, now.tcp[2])])
    return Move(point=point, gripper=CLOSED, progress=1.0 if gained >= 0.045 else 0.7)


def _push(now: Situation) -> Move:
    assert now.along is not None
    along = now.along
    gained = float((now.item - now.start) @ along)
    if gained >= PUSH_ENOUGH:
        return Move(point=np.array([*now.tcp[:2], SAFE_Z]), gripper=0.0, progress=1.0)
    height = 0.016
    contact = now.half + PUSH_CONTACT
    behind = now.item - along * (contact + 0.02)
    lag, across = beside(now)
    lateral = float(np.linalg.norm(across))
    low = now.tcp[2] < height + 0.014
    # the command leads the hand while it pushes: where it ends may be inside the object
    pushing = low and lag <= PUSH_LEAD * now.half and lateral <= 0.016
    behind_it = lag <= -(now.half + 0.002)
    if pushing:
        advance = max(PUSH_TRAVEL - gained, 0.0) + (-lag - contact) + 0.006
        goal = now.tcp + along * advance - across * 0.8
        goal[2] = height
        return Move(point=goal, gripper=0.0, progress=0.6)
    point = behind + PAD_OFFSET * outward(behind)
    point[2] = height
    aside = float(np.linalg.norm((point - now.tcp)[:2]))
    if low and behind_it and aside <= 0.03:
        return Move(point=point, gripper=0.0, progress=0.4)
    return Move(point=_over(now, point, 0.008), gripper=0.0, progress=0.2)


def _carry(now: Situation, release_z: float, aligned: float, above: float = 0.004) -> Move:
    """Take the held object over the target, lower it to `release_z` [m], let go.

    It is let go from up to `above` [m] higher and `aligned` [m] aside.
    """
    assert now.target is not None
    grip = now.item - now.tcp
    point = np.array([*(now.target - grip)[:2], release_z - grip[2]])
    error = (point - now.tcp)[:2]
    aside = float(np.linalg.norm(error))
    if aside <= aligned and now.tcp[2] - point[2] <= above:
        return Move(point=point, gripper=OPEN, progress=0.85)
    safe = max(SAFE_Z, release_z - grip[2] + 0.012)
    height = min(point[2] + 5.0 * max(aside - 0.6 * aligned, 0.0), safe)
    low = height - now.tcp[2]
    share = 0.3 * min(1.0, 0.02 / low) if low > 0.012 and aside > 0.02 else 1.0
    return Move(
        point=np.array([*(now.tcp[:2] + share * error), height]),
        gripper=CLOSED,
        progress=0.55 if share < 1 else (0.65 if aside > 0.02 else 0.75),
    )


def _leave(now: Situation) -> Move:
    """Open wide and rise straight up."""
    gone = now.tcp[2] >= now.item[2] + 0.04
    ready = not now.held and now.gripper > grip_angle(now.half) + 0.12
    point = np.array([*now.tcp[:2], max(SAFE_Z, now.item[2] + 0.06) if ready else now.tcp[2]])
    progress = 1.0 if gone else (0.85 if now.held else 0.9)  # planners take 0.9 for done
    return Move(point=point, gripper=OPEN, progress=progress)


def _place(now: Situation) -> Move:
    assert now.target is not None
    aside = float(np.linalg.norm((now.item - now.target)[:2]))
    resting = aside <= IN_CONTAINER and now.item[2] <= now.half + 0.012
    opening = aside <= 0.02 and now.gripper > grip_angle(now.half) + 0.06 and now.item[2] < 0.05
    if resting or (opening and not now.held):
        return _leave(now)
    if now.held:
        return _carry(now, CONTAINER_FLOOR + now.half + 0.004, PLACE_ALIGNED, above=0.010)
    return _grasp(now)


def _stack(now: Situation) -> Move:
    assert now.target is not None
    aside = float(np.linalg.norm((now.item - now.target)[:2]))
    level = abs(now.item[2] - now.target_top - now.half) <= 0.005
    if aside <= ON_BASE and level and (not now.held or aside <= STACK_ALIGNED + 0.001):
        return _leave(now)
    if now.held:
        return _carry(now, now.target_top + now.half + 0.001, STACK_ALIGNED)
    return _grasp(now)


DECISIONS: dict[str, Callable[[Situation], Move]] = {
    "reach": _reach,
    "lift": _lift,
    "push": _push,
    "place": _place,
    "stack": _stack,
}


__all__ = ["HORIZON", "STEP_S", "Expert"]
