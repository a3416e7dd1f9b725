"""Whose chunks the gate executes: the policy's, or those of an operator who has taken the arm."""

from __future__ import annotations

from enum import StrEnum

from vla_ros.core.errors import ChunkRejected
from vla_ros.core.types import ActionChunk
from vla_ros.safety.gate import Gate
from vla_ros.safety.gate_config import Command, GateState

#: What an operator asks for may last for so long from now on [s]. The gate has the arm at rest
#: when a chunk ends, give or take a control period, so an operator who falls silent stops it
#: within 100 ms at any speed.
OPERATOR_HORIZON_S = 0.09
ROUNDING_S = 1e-6
SILENT = (
    "the operator has gone silent, or asks for a speed that cannot be stopped in time: the arm is"
    " held until the operator goes on or lets go, or until gate/reset"
)


class Actor(StrEnum):
    """Who moves the robot; the words of `Acting.msg` and `GateStatus.msg`."""

    NOBODY = ""
    POLICY = "policy"
    OPERATOR = "operator"


class Arbitration:
    """Gives the arm to the operator from the first chunk on, until the operator lets go.

    Meanwhile the policy's chunks go nowhere, also when the operator has gone silent: a cable that
    was pulled is no reason for the policy to move. Afterwards those of the policy's chunks count
    that are stamped later. One that was made before does not know where the operator has brought
    the arm to, and would pull it back; waiting for the next costs one inference, at rest.
    """

    def __init__(self, gate: Gate) -> None:
        """Decide for `gate`; the policy has the arm."""
        self._gate = gate
        self._engaged = False
        self._heard_ns: int | None = None
        self._released_ns: int | None = None

    @property
    def engaged(self) -> bool:
        """Whether an operator has the arm, silent or not."""
        return self._engaged

    def take_policy(self, chunk: ActionChunk, now_ns: int) -> bool:
        """Hand a chunk of the policy to the gate; return whether it is executed.

        Raises:
            ChunkRejected: with the gate's reason, if the policy has the arm.
        """
        if self._engaged:
            return False
        self._gate.accept(chunk, now_ns, source=Actor.POLICY)
        return True

    def take_operator(self, chunk: ActionChunk, now_ns: int) -> None:
        """Hand a chunk of the operator to the gate: the operator has the arm from now on.

        The arm is taken, and held, even if what is asked for cannot be done: whoever takes it
        wants the policy to stop. Only a message that is out of date takes nothing.

        Raises:
            ChunkRejected: with the reason; the operator's chunk before it goes on to its end.
        """
        lasts_s = (chunk.stamp_ns - now_ns) * 1e-9 + chunk.horizon * chunk.step_s
        try:
            if not lasts_s <= OPERATOR_HORIZON_S + ROUNDING_S:  # false for NaN
                raise ChunkRejected(
                    f"the operator's chunk lasts {lasts_s:.3f} s from now, at most"
                    f" {OPERATOR_HORIZON_S:g} s is allowed; do the clocks agree?"
                )
            self._gate.accept(chunk, now_ns, source=Actor.OPERATOR, ran_out=SILENT)
        except ChunkRejected:
            if self._is_fresh(chunk, now_ns):
                self._heard_ns = now_ns
                self._take_the_arm()
            raise
        self._heard_ns = now_ns
        self._engaged = True

    def let_go(self, now_ns: int) -> None:
        """The operator gives the arm back; it brakes until the policy's next chunk."""
        if not self._engaged:
            return
        self._engaged = False
        self._released_ns = now_ns
        self._gate.refuse_before(now_ns)
        self._gate.drop_chunk("the operator has let go")

    def idle(self) -> None:
        """The policy has nothing to do: the rest of its chunk is not executed."""
        if not self._engaged:
            self._gate.drop_chunk("the policy is idle")

    def hold(self) -> None:
        """An operator had the arm before this gate began: it is held for them."""
        self._engaged = True
        self._gate.drop_chunk("an operator had the arm when the gate was started again")

    def hear(self, chunk: ActionChunk, now_ns: int) -> None:
        """Note that an operator who has the arm still speaks, while nothing is executed."""
        if self._engaged and self._is_fresh(chunk, now_ns):
            self._heard_ns = now_ns

    def let_silent_go(self, now_ns: int) -> None:
        """Give the arm back for an operator who is gone; a person who resets the gate decides so.

        An operator whose messages still come keeps it.
        """
        if self._heard_ns is None or abs(now_ns - self._heard_ns) > OPERATOR_HORIZON_S * 1e9:
            self.let_go(now_ns)

    def actor(self, command: Command | None) -> Actor:
        """Return who has brought about a command of the gate."""
        if command is None or command.state is not GateState.EXECUTING:
            return Actor.NOBODY
        return Actor.OPERATOR if self._engaged else Actor.POLICY

    def _take_the_arm(self) -> None:
        if not self._engaged:
            self._engaged = True
            self._gate.drop_chunk("the operator has the arm, and what was asked for was refused")

    def _is_fresh(self, chunk: ActionChunk, now_ns: int) -> bool:
        """Return whether the operator has just sent it."""
        if self._released_ns is not None and chunk.stamp_ns < self._released_ns:
            return False
        return abs(now_ns - chunk.stamp_ns) <= OPERATOR_HORIZON_S * 1e9
