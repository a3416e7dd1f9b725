"""What an episode's plots and video show, gathered in one pass over its small messages."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_ros.contract import STATE
from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import ObservationError
from vla_ros.core.stamps import to_ns
from vla_ros.core.types import FloatArray
from vla_ros.data.episode_index import Times, full_name
from vla_ros.data.frames import RecordedEpisode
from vla_ros.observation.joint_messages import JointStateReader

GATE_STATUS, CHUNK = f"{NAMESPACE}/gate/status", f"{NAMESPACE}/policy/chunk"
TELEOP = f"{NAMESPACE}/teleop/command"
#: `GateStatus.state` in words.
GATE_STATES = {0: "hold", 1: "executing", 2: "emergency stop"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """Actions that a policy, or an operator, planned.

    Attributes:
        told_ns: When it was received [ns].
        stamps_ns: When each row is due [ns], (n,).
        positions: Joint targets [rad], (n, n_joints), in the contract's order.
    """

    told_ns: int
    stamps_ns: Times
    positions: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """An episode in numbers.

    Attributes:
        start_ns: Time that seconds are counted from [ns].
        end_ns: Time of the last message [ns].
        joints: Names, in the contract's order.
        state_ns: Stamps of the joint states [ns], (n,).
        states: Measured positions [rad], (n, n_joints).
        command_ns: Since when each command is in force [ns], (m,).
        commands: Targets [rad], (m, n_joints).
        actors: Time [ns] and who moves the robot from then on.
        gate: Time [ns] and state of the gate from then on.
        instructions: Time [ns] and what is told from then on.
        chunks: In the order that they came.
    """

    start_ns: int
    end_ns: int
    joints: tuple[str, ...]
    state_ns: Times
    states: FloatArray
    command_ns: Times
    commands: FloatArray
    actors: tuple[tuple[int, str], ...]
    gate: tuple[tuple[int, str], ...]
    instructions: tuple[tuple[int, str], ...]
    chunks: tuple[Chunk, ...]

    def seconds(self, time_ns: Any) -> Any:
        """Return times [ns] in [s] from the beginning."""
        return (np.asarray(time_ns, np.int64) - self.start_ns) * 1e-9

    def chunk_at(self, time_ns: int) -> Chunk | None:
        """Return the newest chunk at a time [ns] of which a row is still due; None without one."""
        index = bisect_right(self.chunks, time_ns, key=lambda chunk: chunk.told_ns) - 1
        if index < 0 or self.chunks[index].stamps_ns[-1] <= time_ns:
            return None
        return self.chunks[index]

    def state_at(self, time_ns: int) -> FloatArray:
        """Return the measured positions at a time [ns], (n_joints,) [rad]; NaN if there are none.

        The last that were; before the first, those.
        """
        return _at(self.state_ns, self.states, time_ns, len(self.joints))

    def command_at(self, time_ns: int) -> FloatArray:
        """Return the targets in force at a time [ns], (n_joints,) [rad]; NaN if there are none."""
        return _at(self.command_ns, self.commands, time_ns, len(self.joints))


def in_force(changes: Sequence[tuple[int, str]], time_ns: int) -> str:
    """Return what was said last at a time [ns]; "" if nothing was."""
    found = bisect_right(changes, time_ns, key=lambda each: each[0])
    return changes[found - 1][1] if found else ""


def read_timeline(episode: RecordedEpisode) -> Timeline:
    """Gather an episode's small messages.

    Messages that cannot be read are left out: `vla_ros data check` is what names them.
    """
    contract, index = episode.contract, episode.index
    joints = tuple(contract.action.joints)
    state_topic = full_name(contract.observation(STATE).topic)
    reader = JointStateReader(state_topic, joints)
    stamps: list[int] = []
    states: list[FloatArray] = []
    gate: list[tuple[int, str]] = []
    chunks: list[Chunk] = []
    for topic, log_ns, message in episode.messages([state_topic, GATE_STATUS, CHUNK, TELEOP]):
        if topic == GATE_STATUS:
            state = GATE_STATES.get(int(message.state), str(message.state))
            if not gate or gate[-1][1] != state:
                gate.append((log_ns, state))
        elif topic == state_topic:
            try:
                states.append(np.asarray(reader.read(message), np.float64))
            except ObservationError:
                continue
            stamps.append(to_ns(message.header.stamp))
        elif (chunk := _chunk(message, log_ns, joints)) is not None:
            chunks.append(chunk)
    times = [times for times in index.times.values() if len(times)]
    return Timeline(
        start_ns=min((int(item[0]) for item in times), default=episode.info.start_ns),
        end_ns=max((int(item[-1]) for item in times), default=episode.info.end_ns),
        joints=joints,
        state_ns=np.array(stamps, np.int64),
        states=np.array(states, np.float64).reshape(-1, len(joints)),
        command_ns=index.commands.since_ns,
        commands=index.commands.targets,
        actors=index.actors,
        gate=tuple(gate),
        instructions=index.instructions,
        chunks=tuple(chunks),
    )


def _chunk(message: Any, log_ns: int, joints: tuple[str, ...]) -> Chunk | None:
    rows, names = int(message.horizon), list(message.joint_names)
    if not rows or len(message.positions) != rows * len(names) or set(names) != set(joints):
        return None  # an operator who lets go, or a chunk that the gate refuses
    order = [names.index(name) for name in joints]
    positions = np.asarray(message.positions, np.float64).reshape(rows, -1)[:, order]
    steps_ns = np.round(np.arange(1, rows + 1) * message.step_s * 1e9).astype(np.int64)
    return Chunk(
        told_ns=log_ns, stamps_ns=to_ns(message.header.stamp) + steps_ns, positions=positions
    )


def _at(times: Times, rows: FloatArray, time_ns: int, width: int) -> FloatArray:
    if not len(times):
        return np.full(width, np.nan)
    found = int(np.searchsorted(times, time_ns, side="right")) - 1
    return np.asarray(rows[max(found, 0)])
