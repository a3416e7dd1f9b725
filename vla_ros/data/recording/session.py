"""What a recorder does with messages and requests, one after the other, in a single thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_ros import __version__
from vla_ros.core.errors import UserError
from vla_ros.data.episode import Episode, Outcome, State
from vla_ros.data.message_file import TopicSpec
from vla_ros.data.recording.boundaries import Boundaries, Edge
from vla_ros.data.recording.context import CHUNK, READ, Context, read_bundle
from vla_ros.data.recording.disk_sync import DiskSync
from vla_ros.data.recording.episode_writer import EpisodeWriter, describe_refusal
from vla_ros.data.recording.findings import Findings
from vla_ros.data.recording.inbox import Inbox
from vla_ros.data.recording.recorded_episodes import RecordedEpisodes
from vla_ros.data.recording.recording_folder import RESERVE_BYTES, RecordingFolder
from vla_ros.data.recording.report import RecorderReport
from vla_ros.data.recording.ring import Ring
from vla_ros.data.recording.settings import Arrival, RecorderSettings, latched_key
from vla_ros.data.recording.topic_watch import TopicWatch

#: An episode does not begin with less free space [bytes].
LEAST_BYTES = 2 * RESERVE_BYTES


class Session:
    """Episodes of one recorder, from its start to its end.

    Attributes:
        topics: What is recorded, by name; others may add to it.
        report: What goes on, as of the last `look`.
    """

    def __init__(
        self,
        settings: RecorderSettings,
        place: RecordingFolder,
        *,
        sync: DiskSync,
        watch: TopicWatch,
        inbox: Inbox,
        now_ns: Callable[[], int],
    ) -> None:
        """Begin without an episode.

        Args:
            settings: What for, and bounds.
            place: Where.
            sync: Is told which file to wait for.
            watch: Knows what is amiss with topics.
            inbox: Knows what was lost before it came here.
            now_ns: The clock of the stamps [ns].
        """
        self._settings, self._place, self._sync = settings, place, sync
        self._findings, self._now_ns = Findings(settings, watch, inbox), now_ns
        self._log = logging.getLogger("vla_ros.recorder")
        self._context = Context()
        self._ring = Ring(settings.kept_s, settings.recent_bytes) if settings.kept_s else None
        self._boundaries = Boundaries(idle_s=settings.idle_s, longest_s=settings.longest_s)
        self.topics: dict[str, TopicSpec] = {}
        self._latched: dict[tuple[str, bytes], Arrival] = {}
        self._operator = settings.operator
        self._writer: EpisodeWriter | None = None
        self._unbegun = ""
        self._episodes = RecordedEpisodes(place)
        self.report = RecorderReport()
        self.look()

    @property
    def recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._writer is not None

    def take(self, arrival: Arrival) -> None:
        """Handle a message of a topic that is known."""
        latched = self.topics[arrival.topic].latched
        if latched:
            self._latched[latched_key(arrival)] = arrival
        if arrival.topic in READ:
            self._observe(arrival)
        if self._settings.continuous:
            self._cut_by_itself(arrival)
        if self._writer is not None:
            self._guard(lambda: self._write([arrival]))
        elif self._ring is not None:
            self._ring.add(arrival, latched=latched)

    def tick(self) -> None:
        """Look after the files, when messages come or not."""
        self._guard(lambda: self._write([]))

    def begin(self, instruction: str, operator: str) -> Path:
        """Begin an episode after ending the one before; return its folder.

        Raises:
            UserError: if the disk refuses.
        """
        self._operator = operator or self._operator
        self.close()
        return self._begin_or_say(instruction, [], self._now_ns())

    def end(self) -> Episode:
        """End the episode.

        Raises:
            UserError: if there is none, or the disk refuses its end.
        """
        if self._writer is None:
            raise UserError("no episode is being recorded")
        episode = self._finish(self._writer)
        if episode.state is State.RECORDING:
            raise UserError(f"{episode.name}: the disk refused its end; the next start mends it")
        return episode

    def close(self) -> None:
        """End the episode if there is one."""
        if self._writer is not None:
            self._finish(self._writer)

    def label(self, outcome: Outcome, text: str, number: int) -> Episode:
        """Say what came of an episode; -1 is this or the last one.

        Raises:
            UserError: if there is no such episode, or the disk refuses.
        """
        return self._episodes.label(outcome, text, number, self._writer)

    def discard(self) -> Path:
        """Put this or the last episode aside; return the folder that it had.

        Raises:
            UserError: if there is none.
        """
        self.close()
        return self._episodes.discard()

    def undo(self) -> Path:
        """Take back what was discarded last; return its folder.

        Raises:
            UserError: if nothing is discarded.
        """
        folder = self._episodes.undo()
        if self._writer is None:
            self._episodes.last = folder
        return folder

    def save_recent(self, span_s: float, instruction: str) -> Path:
        """Make an episode of the last `span_s` [s]; all that is in memory for 0.

        Raises:
            UserError: if nothing is in memory, or the disk refuses.
        """
        if self._ring is None or not self._settings.recent_s:
            raise UserError("nothing is kept in memory; start the recorder with recent_s above 0")
        if self._writer is not None:
            raise UserError("an episode is being recorded, and the last seconds are in it")
        arrivals = self._ring.latest(span_s)
        if not arrivals:
            raise UserError("nothing has come since the last episode")
        folder = self._begin_or_say(instruction, arrivals, arrivals[0].log_ns)
        self.close()
        return folder

    def look(self) -> None:
        """Look for what is amiss, and report."""
        now_ns, free, writer = self._now_ns(), self._place.free_bytes(), self._writer
        changed: dict[str, Any] = {}
        if writer is not None:
            changed = {
                "path": str(writer.folder),
                "instruction": writer.episode.instruction,
                "duration_s": 1e-9 * (now_ns - writer.episode.start_ns),
                "messages": writer.messages,
                "bytes": writer.size,
            }
        self.report = replace(
            self.report,
            recording=writer is not None,
            watching=self._ring is not None,
            warnings=self._findings.look(now_ns, free, recording=writer is not None),
            lost=self._findings.lost,
            disk_free=free,
            episodes=self._episodes.completed,
            **changed,
        )

    def _observe(self, arrival: Arrival) -> None:
        writer = self._writer
        if not self._read(lambda: self._context.observe(arrival), arrival.topic):
            return
        if writer and self._context.instruction and not writer.episode.instruction:
            described = replace(writer.episode, instruction=self._context.instruction)
            self._guard(lambda: writer.describe(described))

    def _observe_bundle(self, writer: EpisodeWriter, arrival: Arrival) -> None:
        """Write down whose chunks these are, at once: a crash is not to lose it."""
        found: list[str] = []
        self._read(lambda: found.append(read_bundle(arrival)), arrival.topic)
        if found and found[0]:
            writer.describe(replace(writer.episode, bundle=found[0]))

    def _read(self, read: Callable[[], None], topic: str) -> bool:
        """Read a message; return False for foreign bytes, which are recorded and named."""
        try:
            read()
        except Exception as error:  # noqa: BLE001 whatever is wrong with them
            self._findings.note_unread(topic, error)
            return False
        return True

    def _cut_by_itself(self, arrival: Arrival) -> None:
        """Begin or end an episode where the stream says so."""
        edge = self._boundaries.check(self._context, arrival.log_ns, recording=self.recording)
        if edge is None:
            return
        self.close()
        if edge is Edge.END:
            return
        lead: list[Arrival] = []
        if edge is Edge.BEGIN and self._ring is not None:
            lead = self._ring.latest(self._settings.lead_s)
        try:
            self._begin_or_say("", lead, arrival.log_ns)
            self._unbegun = ""
        except UserError as error:
            if not self._unbegun:  # it is tried again with every message
                self._log.error("%s", error)
            self._unbegun = str(error)

    def _begin_or_say(self, instruction: str, first: Sequence[Arrival], at_ns: int) -> Path:
        """Begin an episode at a time [ns] with what came before, or else with what is latched.

        Raises:
            UserError: if the disk refuses, or is nearly full.
        """
        settings, free = self._settings, self._place.free_bytes()
        if free < LEAST_BYTES:
            raise UserError(
                f"{self._place.path}: only {free / 1e6:.0f} MB are free: too little for an episode"
            )
        episode = Episode(
            number=self._place.next_number(),
            instruction=instruction or self._context.instruction,
            operator=self._operator,
            contract=settings.contract.name,
            contract_sha256=settings.contract_sha256,
            software=__version__,
            start_ns=first[0].log_ns if first else at_ns,
        )
        self._findings.begin()
        try:
            self._writer = EpisodeWriter(self._place, settings, self._sync, episode)
        except OSError as error:
            self._place.release()
            raise UserError(f"{self._place.path}: {describe_refusal(error)}") from error
        folder = self._episodes.last = self._writer.folder
        self._boundaries.begun(episode.instruction, at_ns)
        held = [item._replace(log_ns=at_ns) for item in self._latched.values()]
        self._guard(lambda: self._write(first or held))
        if self._ring is not None:
            self._ring.clear()
        return folder

    def _write(self, arrivals: Sequence[Arrival]) -> None:
        """Append messages to the episode, if there is one."""
        writer = self._writer
        if writer is not None:
            for arrival in arrivals:
                writer.add(arrival, self.topics[arrival.topic])
                if arrival.topic == CHUNK and not writer.episode.bundle:
                    self._observe_bundle(writer, arrival)
            writer.tick()

    def _guard(self, act: Callable[[], None]) -> None:
        """Do something with files; a disk that refuses ends the episode, and what it had stays."""
        try:
            act()
        except OSError as error:
            self._log.error("%s", describe_refusal(error))
            if self._writer is not None:
                self._finish(self._writer, cut=describe_refusal(error))

    def _finish(self, writer: EpisodeWriter, cut: str = "") -> Episode:
        """Close the episode; where the disk refuses even that, the next start mends it."""
        self.look()
        self._writer = None
        try:
            episode = writer.close(self._findings.of_episode(), cut)
        except (OSError, UserError) as error:
            self._log.error("%s: %s; the next start mends it", writer.folder, error)
            return writer.episode
        self._episodes.count()
        return episode
