"""Records episodes: messages come from one thread, another writes them; free of ROS 2."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path

from vla_ros.data.episode import Episode, Outcome
from vla_ros.data.message_file import TopicSpec
from vla_ros.data.recording.context import READ
from vla_ros.data.recording.disk_sync import DiskSync
from vla_ros.data.recording.inbox import Inbox, Request
from vla_ros.data.recording.recording_folder import RecordingFolder
from vla_ros.data.recording.recovery import recover_episodes
from vla_ros.data.recording.report import RecorderReport
from vla_ros.data.recording.session import Session
from vla_ros.data.recording.settings import Arrival, RecorderSettings
from vla_ros.data.recording.topic_watch import TopicWatch

#: How often what is amiss is looked for, and files are looked after, at least [s].
WATCH_S, TURN_S = 0.5, 0.1


class Recorder:
    """Records the messages that it is given.

    `receive` never blocks: what finds no room in memory is counted and named. Everything about
    files happens in one thread; what is asked of it is done after the messages that came before.
    """

    def __init__(
        self,
        settings: RecorderSettings,
        now_ns: Callable[[], int],
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Open the folder, and mend what an earlier recorder left behind.

        Args:
            settings: Where, what for, and bounds.
            now_ns: The clock of the stamps [ns].
            on_error: Is given what ended the thread that writes, which is a bug of ours; the next
                recorder mends the episode.

        Raises:
            UserError: if another recorder works in the folder, or it cannot be written to.
        """
        log = logging.getLogger("vla_ros.recorder")
        self._place = RecordingFolder(settings.folder)
        for item in recover_episodes(self._place):
            log.warning("%s was cut off and is mended", item.folder)
        self.watch = TopicWatch(settings.contract, now_ns())
        self._inbox = Inbox(settings.queue_bytes)
        self._sync = DiskSync(settings.sync_s)
        self._session = Session(
            settings, self._place, sync=self._sync, watch=self.watch, inbox=self._inbox,
            now_ns=now_ns,
        )  # fmt: skip
        self._keeps_all = settings.continuous or settings.kept_s > 0.0
        self._beginning, self._closed = 0, False
        self._on_error = on_error
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the episode that is being recorded, if any, and the threads."""
        if self._closed:
            return
        self._closed = True
        if not self._stop.is_set():
            done = self._inbox.ask(self._session.close)
            while self._thread.is_alive() and not done.done():  # it may end by an error instead
                wait([done], TURN_S)
            self._stop.set()
        self._thread.join()
        self._sync.close()
        self._place.close()

    @property
    def report(self) -> RecorderReport:
        """What it does, as of half a second ago at most."""
        return self._session.report

    @property
    def most_waiting(self) -> int:
        """What waited for the disk at most [bytes]."""
        return self._inbox.most

    def add_topic(self, spec: TopicSpec) -> None:
        """Say that messages of a topic are going to come."""
        self.watch.add_topic(spec)
        self._session.topics[spec.name] = spec

    def receive(self, arrival: Arrival) -> None:
        """Take a message of a topic that was added."""
        self.watch.count(arrival)
        topic = arrival.topic
        wanted = self._keeps_all or self._beginning or self._session.recording
        if wanted or topic in READ or self._session.topics[topic].latched:
            self._inbox.put(arrival)

    def begin(self, instruction: str = "", operator: str = "") -> Future[Path]:
        """Begin an episode; one that is being recorded is ended first. The value is its folder.

        Args:
            instruction: What the robot is to do; "" takes that in force.
            operator: Who records; "" keeps the one before.
        """
        self._beginning += 1  # from now on messages are for it

        def act() -> Path:
            try:
                return self._session.begin(instruction, operator)
            finally:
                self._beginning -= 1

        return self._inbox.ask(act)

    def end(self) -> Future[Episode]:
        """End the episode; the exception is a `UserError` if none is being recorded."""
        return self._inbox.ask(self._session.end)

    def label(self, outcome: Outcome, text: str, number: int = -1) -> Future[Episode]:
        """Say what came of an episode: of this or the last one for -1."""
        return self._inbox.ask(lambda: self._session.label(outcome, text, number))

    def discard(self) -> Future[Path]:
        """Put this or the last episode aside; the value is the folder that it had."""
        return self._inbox.ask(self._session.discard)

    def undo(self) -> Future[Path]:
        """Take back what was discarded last; the value is its folder."""
        return self._inbox.ask(self._session.undo)

    def save_recent(self, span_s: float = 0.0, instruction: str = "") -> Future[Path]:
        """Make an episode of the last `span_s` [s], or of all that is in memory for 0."""
        return self._inbox.ask(lambda: self._session.save_recent(span_s, instruction))

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:
            self._stop.set()
            if self._on_error is None:
                raise
            self._on_error(error)

    def _loop(self) -> None:
        looked_s = 0.0
        while not self._stop.is_set():
            for item in self._inbox.take(TURN_S):
                if isinstance(item, Request):
                    item.run(then=self._session.look)
                    continue
                self._session.take(item)
                self._inbox.done(item)
            self._session.tick()
            if time.monotonic() - looked_s > WATCH_S:
                looked_s = time.monotonic()
                self._session.look()
