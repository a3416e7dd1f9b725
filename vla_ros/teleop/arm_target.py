"""Where an operator's arm should be: from intents to the rows of a chunk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from vla_ros.contract import RobotContract
from vla_ros.core.types import FloatArray
from vla_ros.teleop.intent import CARTESIAN, GRIPPER, Intent, Mode
from vla_ros.teleop.inverse_kinematics import rotation_by, solve, turn_between
from vla_ros.teleop.settings import TeleopSettings
from vla_ros.teleop.timing import stoppable_speed

#: How far a target may be ahead of what is commanded: as far as the arm goes in this time [s].
LEAD_S = 0.25
#: How far the wanted pose of the tip may be from the one that the joints can have [m], [rad].
SLACK_M, SLACK_RAD = 0.02, 0.3
#: How fast joints close in on a leader: the distance shrinks to a third in this time [s].
CLOSE_IN_S = 0.05
#: A joint that is this near to the leader's has caught up with it [rad].
CAUGHT_UP_RAD = 0.05
#: An axis gets from rest to its highest speed in this time, and back in that [s]. The arm starts a
#: few periods after the target does; a target that starts at full speed would have to be chased.
SPEED_UP_S, SLOW_DOWN_S = 0.1, 0.05
#: Kept clear of the faces of the workspace, where the gate stops the arm [m].
MARGIN_M = 0.005
#: A joint that would come to its limit within this time stands still [s].
SOON_S = 0.02
#: Share of the distance between wanted and reached pose that is made up for per second.
PULL_HZ = 10.0


class ArmTarget:
    """Moves a target with what the operator wants, from the present command on.

    The target never runs away from the arm: not further than `LEAD_S` of motion from what is
    commanded, and in mode `end_effector` not further than `SLACK_M` from what can be reached.
    """

    def __init__(self, contract: RobotContract, settings: TeleopSettings) -> None:
        """Serve a robot.

        Args:
            contract: Its joints, limits, chain and workspace.
            settings: Speeds and frame.

        Raises:
            UserError: if the device speaks too seldom for the arm to be stopped in time.
        """
        self._limits = contract.limits
        self._names = contract.action.joints
        self._speeds = settings.speeds
        self._tool_frame = settings.tool_frame
        self._chain = contract.chain()
        self._workspace = contract.workspace
        self._columns = [self._names.index(name) for name in self._chain.names]
        self._hands = [i for i in range(len(self._names)) if i not in self._columns]
        self._fastest = stoppable_speed(self._limits, settings.rate_hz)
        self._q = np.array(contract.home)
        self._pose: FloatArray | None = None
        self._shares: dict[str, float] = {}
        self._caught_up = np.zeros(len(self._names), dtype=bool)

    @property
    def positions(self) -> FloatArray:
        """The target in [rad], shape (n,)."""
        return self._q.copy()

    def start(self, command: FloatArray) -> None:
        """Begin at rest at what is commanded now, in [rad], shape (n,)."""
        self._q = np.array(command, dtype=np.float64)
        self._pose = None
        self._shares = {}
        self._caught_up[:] = False

    def advance(
        self, intent: Intent, dt_s: float, command: FloatArray | None, times_s: FloatArray
    ) -> FloatArray:
        """Move the target on and return where it should be from now on.

        Args:
            intent: What the operator wants.
            dt_s: Time since the target was moved last in [s].
            command: What is commanded now in [rad], shape (n,); None if that is not known.
            times_s: Times from now in [s], ascending, shape (m,).

        Returns:
            Positions at these times in [rad], shape (m, n).
        """
        if command is not None:
            room = self._fastest * LEAD_S + 0.02
            held = np.clip(self._q, command - room, command + room)
            if not np.array_equal(held, self._q):
                self._q, self._pose = held, None
        if intent.positions is not None:
            return self._follow(intent.positions, intent.speed, dt_s, times_s)
        intent = self._smooth(intent, dt_s)
        if intent.mode is Mode.END_EFFECTOR:
            velocity = self._move_tip(intent, dt_s)
        else:
            self._pose = None
            velocity = self._joint_velocity(intent)
            self._q = self._inside(self._q + velocity * dt_s)
        return np.asarray(self._inside(self._q + times_s[:, None] * velocity))

    def _smooth(self, intent: Intent, dt_s: float) -> Intent:
        """Return an intent whose axes change no faster than they may."""
        wanted = {name: intent.speed * share for name, share in intent.axes.items()}
        up, down = dt_s / SPEED_UP_S, dt_s / SLOW_DOWN_S
        shares = {
            name: _towards(self._shares.get(name, 0.0), wanted.get(name, 0.0), up, down)
            for name in {*wanted, *self._shares}
        }
        self._shares = shares
        return replace(intent, axes=shares, speed=1.0)

    def _joint_velocity(self, intent: Intent) -> FloatArray:
        """Return the speed of each joint in [rad/s], shape (n,)."""
        velocity = self._hand_velocity(intent)
        if intent.mode is Mode.JOINT:
            for index, name in enumerate(self._names):
                if name != GRIPPER:
                    share = intent.axes.get(name, 0.0)
                    velocity[index] += share * intent.speed * self._speeds.joint
        return np.asarray(np.clip(velocity, -self._fastest, self._fastest))

    def _hand_velocity(self, intent: Intent) -> FloatArray:
        velocity = np.zeros(len(self._names))
        velocity[self._hands] = intent.axes.get(GRIPPER, 0.0) * intent.speed * self._speeds.gripper
        return np.clip(velocity, -self._fastest, self._fastest)

    def _move_tip(self, intent: Intent, dt_s: float) -> FloatArray:
        """Move the wanted pose and the joints with it; return the joints' speed [rad/s]."""
        q = self._q[self._columns]
        reached = self._chain.forward(q)
        pose = reached if self._pose is None else self._pose
        twist = self._twist(intent, reached)
        moved = pose.copy()
        moved[:3, 3] = self._inside_workspace(pose[:3, 3], pose[:3, 3] + twist[:3] * dt_s)
        if dt_s > 0.0:
            twist[:3] = (moved[:3, 3] - pose[:3, 3]) / dt_s
        moved[:3, :3] = rotation_by(twist[3:] * dt_s) @ pose[:3, :3]
        error = np.concatenate(
            [
                moved[:3, 3] - reached[:3, 3],
                turn_between(reached[:3, :3], moved[:3, :3]),
            ]
        )
        fastest = self._fastest[self._columns]
        velocity = np.zeros(len(self._names))
        feed = twist + PULL_HZ * (error - twist * dt_s)
        bounds = np.array([self._limits.lower, self._limits.upper])[:, self._columns]
        room = (bounds - q) / max(dt_s, SOON_S)
        velocity[self._columns] = solve(self._chain, q, feed, fastest, room)
        velocity += self._hand_velocity(intent)
        self._q = self._inside(self._q + velocity * dt_s)
        self._pose = self._near(moved, self._chain.forward(self._q[self._columns]))
        return velocity

    def _twist(self, intent: Intent, reached: FloatArray) -> FloatArray:
        """Return the wanted speed of the tip in [m/s] and [rad/s] in the base's frame, (6,)."""
        shares = np.array([intent.axes.get(name, 0.0) for name in CARTESIAN]) * intent.speed
        twist = np.concatenate(
            [_at_most(shares[:3]) * self._speeds.linear, shares[3:] * self._speeds.angular]
        )
        if self._tool_frame:
            rotation = reached[:3, :3]
            twist = np.concatenate([rotation @ twist[:3], rotation @ twist[3:]])
        return twist

    def _near(self, pose: FloatArray, reached: FloatArray) -> FloatArray:
        """Return a wanted pose that is not further from the reached one than the slack."""
        offset = pose[:3, 3] - reached[:3, 3]
        turn = turn_between(reached[:3, :3], pose[:3, :3])
        held = pose.copy()
        held[:3, 3] = reached[:3, 3] + _at_most(offset / SLACK_M) * SLACK_M
        held[:3, :3] = rotation_by(_at_most(turn / SLACK_RAD) * SLACK_RAD) @ reached[:3, :3]
        return held

    def _inside_workspace(self, start: FloatArray, end: FloatArray) -> FloatArray:
        """Return the end of a motion of the tip, stopped at the faces of the workspace.

        A tip that is outside may come back in, and go no further out.
        """
        if self._workspace is None:
            return end
        low = np.minimum(np.array(self._workspace.lower) + MARGIN_M, start)
        high = np.maximum(np.array(self._workspace.upper) - MARGIN_M, start)
        return np.asarray(np.clip(end, low, high))

    def _follow(
        self, positions: Mapping[str, float], speed: float, dt_s: float, times_s: FloatArray
    ) -> FloatArray:
        """Close in on where a leader is; joints that it does not name stand still."""
        self._pose = None
        goal = self._q.copy()
        for index, name in enumerate(self._names):
            goal[index] = positions.get(name, goal[index])
        goal = self._inside(goal)
        self._caught_up |= np.abs(goal - self._q) < CAUGHT_UP_RAD
        fastest = np.where(self._caught_up, self._speeds.follow, self._speeds.catch_up) * speed
        fastest = np.minimum(fastest, self._fastest)
        self._q = _close_in(self._q, goal, fastest, dt_s)
        rows, q, before = [], self._q, 0.0
        for time_s in times_s.tolist():
            q = _close_in(q, goal, fastest, time_s - before)
            rows.append(q)
            before = time_s
        return np.array(rows)

    def _inside(self, q: FloatArray) -> FloatArray:
        return np.asarray(np.clip(q, self._limits.lower, self._limits.upper))


def _towards(now: float, wanted: float, up: float, down: float) -> float:
    """Return a share on its way to the wanted one: so far down to rest, or so far up from it."""
    if now * wanted < 0.0 or abs(wanted) < abs(now):
        goal = max(0.0, wanted) if now > 0.0 else min(0.0, wanted)
        return now + math.copysign(min(abs(goal - now), down), goal - now)
    return now + math.copysign(min(abs(wanted - now), up), wanted - now)


def _close_in(q: FloatArray, goal: FloatArray, fastest: FloatArray, dt_s: float) -> FloatArray:
    """Return positions a time later, on their way to a goal at no more than a speed [rad/s]."""
    step = (goal - q) * (1.0 - np.exp(-dt_s / CLOSE_IN_S))
    return np.asarray(q + np.clip(step, -fastest * dt_s, fastest * dt_s))


def _at_most(vector: FloatArray) -> FloatArray:
    """Return a vector, no longer than 1."""
    return np.asarray(vector / max(1.0, float(np.linalg.norm(vector))))
