"""Writes one episode: its folder, its files one after the other, and what is known of it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

from vla_ros.data.bag_metadata import write_bag_metadata
from vla_ros.data.episode import CONTRACT, Episode, State, write_episode
from vla_ros.data.message_file import MessageFile, TopicSpec
from vla_ros.data.message_summary import Summary
from vla_ros.data.recording.disk_sync import DiskSync
from vla_ros.data.recording.recording_folder import NEW, RecordingFolder
from vla_ros.data.recording.settings import Arrival, RecorderSettings


class EpisodeWriter:
    """An episode that is being recorded.

    Attributes:
        episode: What is known of it so far.
        folder: Of it.
        messages: How many it has.
    """

    def __init__(
        self,
        place: RecordingFolder,
        settings: RecorderSettings,
        sync: DiskSync,
        episode: Episode,
    ) -> None:
        """Make the folder, which is there with all it needs or not at all, and the first file.

        Raises:
            OSError: if the disk is full, or otherwise refuses.
        """
        self._place, self._settings, self._sync = place, settings, sync
        self.episode, self.folder = episode, place.path / episode.name
        self.messages = 0
        self._closed: list[Summary] = []
        self._closed_bytes = 0
        self._unended = self._torn = False
        self._pending_since_s: float | None = None
        place.reserve()
        new = place.path / NEW
        shutil.rmtree(new, ignore_errors=True)  # of a start that failed
        new.mkdir()
        (new / CONTRACT).write_bytes(settings.contract_text)
        write_episode(new, episode)
        new.rename(self.folder)
        self._file = self._open()

    @property
    def size(self) -> int:
        """What is on disk [bytes]."""
        return self._closed_bytes + (self._file.size if self._unended else 0)

    def add(self, arrival: Arrival, topic: TopicSpec) -> None:
        """Append a message of a topic.

        Raises:
            OSError: if the disk is full, or otherwise refuses.
        """
        file = self._file
        if arrival.topic not in file:
            file.add_topic(topic)
        file.add(arrival.topic, arrival.data, arrival.log_ns, arrival.publish_ns, arrival.sequence)
        self.messages += 1
        if not file.pending:
            self._pending_since_s = None
        elif self._pending_since_s is None:
            self._pending_since_s = time.monotonic()

    def tick(self) -> None:
        """Hand over what waits too long, and go on with another file where this one is full.

        Raises:
            OSError: if the disk is full, or otherwise refuses.
        """
        self._sync.check()
        now_s = time.monotonic()
        if self._pending_since_s is not None:
            if now_s - self._pending_since_s < self._settings.flush_s:
                return
            self._file.flush()
            self._pending_since_s = None
        longest_s = self._settings.file_s or float("inf")
        if self._file.size > self._settings.file_bytes or now_s - self._opened_s > longest_s:
            self._shut()
            self._file = self._open()

    def describe(self, episode: Episode) -> None:
        """Replace what is known of it.

        Raises:
            OSError: if the disk refuses.
        """
        self.episode = episode
        write_episode(self.folder, episode)

    def close(self, warnings: Sequence[str], cut: str = "") -> Episode:
        """End the episode, and return what is known of it.

        Args:
            warnings: What was amiss while it was recorded.
            cut: Why it ends early; "" if it does not.

        Raises:
            OSError: if the disk refuses even the little that ends an episode.
        """
        if self._unended and not self._torn:
            try:
                self._shut()
            except OSError as error:
                cut = cut or describe_refusal(error)
        self._place.release()  # what remains is small, and there is room for it now
        if self._torn:
            self._complete()
        files = [item for item in self._closed if item.messages]
        topics: dict[str, int] = {}
        for summary in self._closed:
            for topic, count in summary.counts_by_topic().items():
                topics[topic] = topics.get(topic, 0) + count
        write_bag_metadata(self.folder)
        self.describe(
            replace(
                self.episode,
                state=State.CUT if cut else State.COMPLETE,
                cut=cut,
                warnings=tuple(warnings),
                start_ns=min((item.start_ns for item in files), default=self.episode.start_ns),
                end_ns=max((item.end_ns for item in files), default=self.episode.start_ns),
                topics=topics,
            )
        )
        return self.episode

    def _open(self) -> MessageFile:
        path = self.folder / f"{self.episode.name}_{len(self._closed)}.mcap"
        settings = self._settings
        file = MessageFile(path, compression=settings.compression, level=settings.level)
        self._opened_s = time.monotonic()
        self._sync.watch(file)
        self._unended = True
        return file

    def _shut(self) -> None:
        """Close the present file.

        Raises:
            OSError: if the disk refuses its end, or has refused something before.
        """
        self._torn = True  # until all of it is written
        self._sync.watch(None)
        self._sync.check()
        self._file.close()
        self._keep(self._file.summary)

    def _complete(self) -> None:
        """Close a file whose end did not fit, now that there is room."""
        from vla_ros.data.recording.completion import complete_file

        with contextlib.suppress(OSError):
            self._file.close()
        self._keep(complete_file(self._file.path).summary)

    def _keep(self, summary: Summary) -> None:
        """The present file has its end."""
        self._closed.append(summary)
        self._closed_bytes += self._file.size
        self._unended = self._torn = False


def describe_refusal(error: OSError) -> str:
    """Return in words why a disk did not take what was written."""
    return f"the disk refused what was written: {error.strerror or error}"
