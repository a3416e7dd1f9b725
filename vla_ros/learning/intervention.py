"""An operator who watches a policy drive and takes the arm when it goes wrong (HG-DAgger).

Here the scripted expert is the operator. It sees what somebody beside the robot sees (where the
hand goes, what the fingers hold, whether anything moves), and has the reaction time of one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from vla_ros.core.types import FloatArray
from vla_ros.learning.actors import Actor
from vla_ros.learning.experts import DECISIONS
from vla_ros.learning.inverse_kinematics import ArmKinematics
from vla_ros.learning.look_ahead import STEP_S, look
from vla_ros.learning.rollouts import Driver, Record
from vla_ros.sim.tabletop import Tabletop

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class InterventionRule:
    """When an operator takes the arm, and when the policy has it back.

    Attributes:
        look_s: How far back an operator compares with what they would have done [s].
        apart_m: The hand strays if it is led so far from the way that the operator would have
            taken [m]; how fast it goes along that way does not matter.
        gripper_rad: So does a gripper that opens or closes so much else than theirs [rad].
        still_m: It is stuck if it moved less than this [m] ...
        still_s: ... in this time [s].
        reaction_s: How long it has to go wrong before the operator has the arm [s].
        hold_s: Shortest intervention [s].
        longest_s: Longest one; a shorter one ends when the task has come a step further [s].
    """

    look_s: float = 0.5
    apart_m: float = 0.02
    gripper_rad: float = 0.3
    still_m: float = 0.005
    still_s: float = 1.0
    reaction_s: float = 0.2
    hold_s: float = 0.5
    longest_s: float = 2.0


class Operator:
    """Says at every step of an episode who has the arm."""

    def __init__(self, rule: InterventionRule | None = None) -> None:
        """Watch one episode."""
        self._rule = rule or InterventionRule()
        self._arm = ArmKinematics()
        # where the operator would have led hand and gripper
        self._ways: _Past[tuple[FloatArray, FloatArray]] = _Past(self._rule.look_s)
        self._hand: _Past[FloatArray] = _Past(self._rule.still_s)
        self._wrong_for_s = 0.0
        self._holds_for_s: float | None = None
        self._progress = 0.0
        #: Why the arm was taken, each time.
        self.reasons: list[str] = []

    def takes(self, table: Tabletop, plan: FloatArray) -> bool:
        """Return whether the operator has the arm in the step that begins.

        Args:
            table: As it is now.
            plan: What the operator would command from here (HORIZON, n_joints) [rad].
        """
        progress = DECISIONS[table.scene.skill](look(table)).progress
        reason = self._look(table, plan, progress)
        if self._holds_for_s is not None:
            self._holds_for_s += STEP_S
            further = progress > self._progress and self._holds_for_s >= self._rule.hold_s
            if not further and self._holds_for_s < self._rule.longest_s:
                return True
            self._let_go()
            return False
        self._wrong_for_s = self._wrong_for_s + STEP_S if reason else 0.0
        if self._wrong_for_s >= self._rule.reaction_s:
            self.reasons.append(reason)
            self._holds_for_s, self._progress = 0.0, progress
            return True
        return False

    def _let_go(self) -> None:
        """Forget what was before: the policy begins anew from here."""
        self._holds_for_s, self._wrong_for_s = None, 0.0
        self._ways.clear()
        self._hand.clear()

    def _look(self, table: Tabletop, plan: FloatArray, progress: float) -> str:
        """Return what goes wrong, in words; "" if nothing does."""
        rule, command = self._rule, table.command
        hand = self._arm.tcp(command)
        rows = np.vstack([command, plan[: round(rule.look_s / STEP_S)]])
        way = np.array([self._arm.tcp(row) for row in rows])
        before, stood = self._ways.push((way, rows[:, 5])), self._hand.push(hand)
        for item in table.scene.objects:
            if item.name != table.scene.named and len(table.judge.finger_contacts(item.name)) == 2:
                return "the fingers hold something else"
        if before is not None:
            way, angles = before
            if np.linalg.norm(way - hand, axis=1).min() > rule.apart_m:
                return "the hand strays"
            if np.abs(angles - command[5]).min() > rule.gripper_rad:
                return "the gripper strays"
        done = progress >= 1.0
        if not done and stood is not None and np.linalg.norm(hand - stood) < rule.still_m:
            return "it is stuck"
        return ""


class SupervisedDriver:
    """A policy drives under an operator's eyes; what they do is executed at once."""

    def __init__(self, policy: Driver, operator: Operator) -> None:
        """Drive one episode.

        Args:
            policy: Drives until the operator takes the arm; it sees every state.
            operator: Of this episode.
        """
        self._policy, self._operator = policy, operator
        #: Of each state so far.
        self.actors: list[Actor] = []

    def __call__(self, table: Tabletop, expert: FloatArray) -> FloatArray:
        """Return the policy's chunk, or the operator's."""
        chunk = self._policy(table, expert)
        taken = self._operator.takes(table, expert)
        self.actors.append(Actor.OPERATOR if taken else Actor.POLICY)
        return expert if taken else chunk

    def mark(self, record: Record) -> None:
        """Write who acted into the record of the episode."""
        record.states["actor"] = [np.int8(actor) for actor in self.actors]


def mark_actors(record: Record, driver: Driver) -> None:
    """Write who acted into the record of an episode, whoever drove it."""
    if isinstance(driver, SupervisedDriver):
        driver.mark(record)
    else:
        record.states["actor"] = [np.int8(Actor.DEMONSTRATOR)] * len(record.states["state"])


class _Past(Generic[Value]):
    """What was so long ago."""

    def __init__(self, ago_s: float) -> None:
        self._values: deque[Value] = deque(maxlen=round(ago_s / STEP_S) + 1)

    def push(self, value: Value) -> Value | None:
        """Remember a value; return the one of so long ago, None before there is one."""
        self._values.append(value)
        return self._values[0] if len(self._values) == self._values.maxlen else None

    def clear(self) -> None:
        self._values.clear()
