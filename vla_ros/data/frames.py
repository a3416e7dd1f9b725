"""Recorded episodes read as the policy node would have seen them, without ROS 2.

    for frame in open_episode(folder).frames():
        frame.observation, frame.action, frame.actor, frame.instruction

Messages become features by `observation.intake`, the code that the policy node runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.conventions import SETTLE_S
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.core.types import FloatArray, Observation
from vla_ros.data.episode import CONTRACT, Episode, message_files, read_episode
from vla_ros.data.episode_index import (
    EpisodeIndex,
    Times,
    decode,
    full_name,
    index_messages,
)
from vla_ros.data.message_file import RecordedMessage, read_messages
from vla_ros.observation.command_history import CommandHistory
from vla_ros.observation.intake import Intake, Keep

#: Is told of a frame that the policy would not have inferred on: its stamp [ns], and the error.
OnGap = Callable[[int, ObservationError], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One observation of an episode, and what was done next.

    Attributes:
        observation: What the policy node would have built, bit for bit.
        action: Joint targets in force one period of the reference camera later [rad],
            (n_joints,); it is row 0 of an `ActionChunk` with that step.
        actor: Who gave that target: `policy`, `operator`, or "" if it is not known.
        instruction: In force at the observation's stamp.
    """

    observation: Observation
    action: FloatArray
    actor: str
    instruction: str

    @property
    def stamp_ns(self) -> int:
        """Stamp of the reference camera's frame [ns]."""
        return self.observation.stamp_ns


class RecordedEpisode:
    """An episode's messages, in the order in which they came.

    Attributes:
        folder: Of the episode.
        info: What is known of it beside its messages.
        contract: How topics become features and commands.
    """

    def __init__(self, folder: Path, info: Episode, contract: RobotContract) -> None:
        """Read nothing yet; `open_episode` makes one from a folder alone."""
        self.folder, self.info, self.contract = folder, info, contract

    @cached_property
    def index(self) -> EpisodeIndex:
        """What one pass over all messages tells; the pass is made when it is first asked for."""
        return index_messages(self.raw_messages(), self.contract)

    @property
    def period_ns(self) -> int:
        """Time between two frames of the reference camera, as the contract promises [ns]."""
        return round(1e9 / self.contract.observation(self.reference).rate_hz)

    @property
    def reference(self) -> str:
        """Feature of the reference camera, whose stamps are those of the frames."""
        return Intake(self.contract).aligner.reference

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[RecordedMessage]:
        """Yield messages as bytes, of some topics or of all."""
        for path in message_files(self.folder):
            for message in read_messages(path):
                if topics is None or message.topic in topics:
                    yield message

    def messages(self, topics: Collection[str] | None = None) -> Iterator[tuple[str, int, Any]]:
        """Yield topic, time of reception [ns] and the decoded message.

        Raises:
            ObservationError: if one cannot be decoded; names its topic.
        """
        for message in self.raw_messages(topics):
            yield message.topic, message.log_ns, decode(message)

    def times(self, topic: str) -> Times:
        """Return when the messages of a topic were received [ns]; empty if there are none."""
        return self.index.times.get(topic, np.empty(0, np.int64))

    def stamps(self, topic: str) -> Times:
        """Return the stamps of a topic's messages [ns]; empty if they have none."""
        return self.index.stamps.get(topic, np.empty(0, np.int64))

    def targets(self, stamp_ns: int, horizon: int, step_s: float) -> FloatArray:
        """Return the commands that followed, (horizon, n_joints) [rad], as a chunk has them.

        Row `k` was in force at `stamp_ns + (k + 1) * step_s`. After the last command, that one
        stays in force.

        Raises:
            UserError: if nothing was commanded in the episode.
        """
        steps_ns = np.round(np.arange(1, horizon + 1) * step_s * 1e9).astype(np.int64)
        try:
            return self.index.commands.at(stamp_ns + steps_ns)
        except UserError as error:
            topic = self.contract.action.command.topic
            raise UserError(f"{self.folder}: {error} (on {topic})") from None

    def actor_at(self, time_ns: int) -> str:
        """Return who moved the robot at a time [ns]; "" if it is not known."""
        return _last_before(self.index.actors, time_ns) or ""

    def instruction_at(self, time_ns: int) -> str:
        """Return the instruction in force at a time [ns]; the episode's before the first."""
        told = _last_before(self.index.instructions, time_ns)
        return self.info.instruction if told is None else told

    def frames(
        self, on_gap: OnGap | None = None, on_refusal: OnGap | None = None
    ) -> Iterator[Frame]:
        """Yield what the policy node would have seen, at the stamps of the reference camera.

        A frame for which there is no observation, because a required input is missing, stale or
        malformed, is left out, as the node leaves it out. At the beginning that is usual.

        Args:
            on_gap: Is told of each frame that is left out.
            on_refusal: Is told of each message that cannot be used, with the time that it came.
        """
        for observation in self.observations(on_gap, on_refusal):
            stamp_ns = observation.stamp_ns
            after_ns = stamp_ns + self.period_ns
            yield Frame(
                observation=observation,
                action=self.targets(stamp_ns, 1, self.period_ns * 1e-9)[0],
                actor=self.actor_at(after_ns),
                instruction=self.instruction_at(stamp_ns),
            )

    def observations(
        self,
        on_gap: OnGap | None = None,
        on_refusal: OnGap | None = None,
        keep: Keep | None = None,
    ) -> Iterator[Observation]:
        """Yield the observations of `frames`.

        Args:
            on_gap: Is told of each frame that is left out.
            on_refusal: Is told of each message that cannot be used, with the time that it came.
            keep: What is collected in place of each value, see `Intake`.
        """
        return _Replay(self, on_gap, on_refusal, keep).run()


def open_episode(folder: Path, contract: RobotContract | None = None) -> RecordedEpisode:
    """Return the recorded episode of a folder.

    Args:
        folder: With `episode.json`, `contract.yaml` and MCAP files.
        contract: To read it by; None for the one that it was recorded with.

    Raises:
        UserError: if the folder is no episode, or its contract cannot be read.
    """
    info = read_episode(folder)
    return RecordedEpisode(folder, info, contract or load_contract(folder / CONTRACT))


class _Replay:
    """The policy node's inputs, fed with an episode's messages in the order they came.

    The node waits, after a frame of the reference camera, for the other messages of that instant:
    until they are there, and at most `SETTLE_S`. Time here is the time of reception.
    """

    def __init__(
        self,
        episode: RecordedEpisode,
        on_gap: OnGap | None,
        on_refusal: OnGap | None,
        keep: Keep | None,
    ) -> None:
        self._episode, self._on_gap = episode, on_gap
        contract = episode.contract
        self._intake = Intake(contract, on_refusal=self._refuse if on_refusal else None, keep=keep)
        self._on_refusal, self._now_ns = on_refusal, 0
        self._commands = CommandHistory(contract.action.joints)
        self._command_topic = full_name(contract.action.command.topic)
        self._features: dict[str, list[str]] = {}
        for item in contract.observations:
            self._features.setdefault(full_name(item.topic), []).append(item.feature)
        self._waiting: deque[tuple[int, int]] = deque()  # stamp, and the latest time [ns]
        self._frame_ns: int | None = None

    def run(self) -> Iterator[Observation]:
        topics = {*self._features, self._command_topic}
        for raw in self._episode.raw_messages(topics):
            while self._waiting and self._waiting[0][1] < raw.log_ns:
                yield from self._build(self._waiting[0][1])
            self._take(raw)
            while self._waiting and self._intake.aligner.settled(self._waiting[0][0]):
                yield from self._build(raw.log_ns)
        while self._waiting:
            yield from self._build(self._waiting[0][1])

    def _take(self, raw: RecordedMessage) -> None:
        self._now_ns = raw.log_ns
        try:
            message = decode(raw)
        except ObservationError as error:
            for feature in self._features.get(raw.topic, ()):
                self._intake.aligner.refuse(feature, error.reason)
            if self._on_refusal is not None:
                self._on_refusal(raw.log_ns, error)
            return
        if raw.topic == self._command_topic:
            self._commands.add(message, raw.log_ns)
        for feature in self._features.get(raw.topic, ()):
            self._intake.take(feature, message)
        frame_ns = self._intake.aligner.newest_frame_ns
        if frame_ns not in (None, self._frame_ns):
            self._frame_ns = frame_ns
            self._waiting.append((int(frame_ns or 0), raw.log_ns + round(1e9 * SETTLE_S)))

    def _build(self, now_ns: int) -> Iterator[Observation]:
        stamp_ns, _ = self._waiting.popleft()
        try:
            observation = self._intake.aligner.build(stamp_ns, now_ns)
        except ObservationError as error:
            if self._on_gap is not None:
                self._on_gap(stamp_ns, error)
            return
        yield replace(observation, command=self._commands.at(stamp_ns))

    def _refuse(self, error: ObservationError) -> None:
        assert self._on_refusal is not None
        self._on_refusal(self._now_ns, error)


def _last_before(changes: Sequence[tuple[int, str]], time_ns: int) -> str | None:
    found = bisect_right(changes, time_ns, key=lambda each: each[0])
    return changes[found - 1][1] if found else None
