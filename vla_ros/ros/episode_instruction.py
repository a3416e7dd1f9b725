"""Tells a policy what to do while an episode is recorded that was started here."""

from __future__ import annotations

import time

from rclpy.node import Node

from vla_ros.ros.instruction_sender import InstructionSender

#: The policy drops an instruction that nobody repeats; it is repeated this often [s].
REPEAT_S = 0.2
#: The recorder's status says so long after a start that nothing is recorded when another has
#: ended the episode [s]; before, it may be older than the start.
SETTLE_S = 1.0


class EpisodeInstruction:
    """Repeats the instruction of an episode until it ends; says nothing between episodes."""

    def __init__(self, node: Node, topic: str = "instruction") -> None:
        """Publish on `topic` with `node`, which somebody else spins."""
        self._sender = InstructionSender(node, topic=topic)
        self._told, self._started_s = "", 0.0
        self._timer = node.create_timer(REPEAT_S, self._repeat)

    def begin(self, instruction: str) -> None:
        """An episode has begun; "" leaves in force what is."""
        self._told, self._started_s = instruction, time.monotonic()
        self._repeat()

    def end(self) -> None:
        """It has ended: there is nothing to do."""
        if self._told:
            self._told = ""
            self._sender.clear()

    def notice(self, *, recording: bool) -> None:
        """The recorder has said whether it records; another may have ended the episode."""
        if not recording and time.monotonic() - self._started_s > SETTLE_S:
            self.end()

    def _repeat(self) -> None:
        if self._told:
            self._sender.send(self._told)
