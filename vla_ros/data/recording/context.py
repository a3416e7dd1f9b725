"""What the graph says about itself, as far as the recorder needs it: read from raw messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.types import FloatArray
from vla_ros.data.message_definitions import read_message
from vla_ros.data.recording.settings import Arrival

INSTRUCTION = f"{NAMESPACE}/instruction"
CHUNK = f"{NAMESPACE}/policy/chunk"
GATE = f"{NAMESPACE}/gate/status"
#: Types of the topics that are always read.
READ = {
    INSTRUCTION: "std_msgs/msg/String",
    GATE: "vla_ros_interfaces/msg/GateStatus",
}
#: `GateStatus.EXECUTING`.
EXECUTING = 1


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate does: whether it executes something, and its command [rad] (n_joints,)."""

    executes: bool
    command: FloatArray


class Context:
    """Follows instruction and gate.

    Attributes:
        instruction: In force; "" while there is nothing to do.
        gate: The newest report; None before the first.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.instruction = ""
        self.gate: GateReport | None = None

    def observe(self, arrival: Arrival) -> None:
        """Read a message of a topic of `READ`."""
        message: Any = read_message(READ[arrival.topic], arrival.data)
        if arrival.topic == INSTRUCTION:
            self.instruction = str(message.data)
        else:
            executes = int(message.state) == EXECUTING
            self.gate = GateReport(executes, np.array(message.command, np.float64))


def read_bundle(chunk: Arrival) -> str:
    """Return the SHA-256 of the policy bundle that a chunk came from."""
    return str(read_message("vla_ros_interfaces/msg/ActionChunk", chunk.data).bundle)
