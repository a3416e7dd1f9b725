"""What is amiss while it is recorded: topics, disk, and what was lost; said once, and kept."""

from __future__ import annotations

import logging

from vla_ros.data.recording.inbox import Inbox
from vla_ros.data.recording.settings import RecorderSettings
from vla_ros.data.recording.topic_watch import TopicWatch


class Findings:
    """Gathers what is amiss, by keys that stay the same while it lasts.

    Attributes:
        lost: Messages of this episode that came and could not be kept, or were lost on their way.
    """

    def __init__(self, settings: RecorderSettings, watch: TopicWatch, inbox: Inbox) -> None:
        """Ask `watch` about topics, and `inbox` about what found no room."""
        self._settings, self._watch, self._inbox = settings, watch, inbox
        self._log = logging.getLogger("vla_ros.recorder")
        self._refused_before: dict[str, int] = {}
        self._unread: dict[str, str] = {}
        self._seen: dict[str, str] = {}
        self._before: dict[str, str] = {}
        self.lost = 0

    def begin(self) -> None:
        """Begin to count anew, for another episode."""
        self._seen, self._refused_before = dict(self._unread), self._inbox.refused()
        self._watch.forget()

    def of_episode(self) -> list[str]:
        """Return what was amiss during this episode, in words."""
        return list(self._seen.values())

    def note_unread(self, topic: str, error: Exception) -> None:
        """Take note that a message of a topic could not be read."""
        self._unread[f"{topic} unread"] = f"{topic}: cannot be read: {error!r}"

    def look(self, now_ns: int, free: int, *, recording: bool) -> tuple[str, ...]:
        """Return what is amiss now, in words.

        Args:
            now_ns: The time [ns], by the clock of the stamps.
            free: What the disk takes [bytes].
            recording: Whether it belongs to an episode.
        """
        refused = {
            topic: count - self._refused_before.get(topic, 0)
            for topic, count in self._inbox.refused().items()
        }
        self.lost = sum(refused.values()) + self._watch.missed()
        found = self._watch.findings(now_ns) | self._unread | self._of_disk(free, refused)
        if recording:
            self._seen |= found
        self._say_changes(found)
        return tuple(found.values())

    def _of_disk(self, free: int, refused: dict[str, int]) -> dict[str, str]:
        found = {}
        if free < self._settings.low_disk_bytes:
            found["disk low"] = f"disk: only {free / 1e9:.2f} GB are free"
        waiting = self._inbox.waiting
        if waiting > 0.5 * self._settings.queue_bytes:
            found["disk slow"] = f"disk: is too slow, {waiting / 1e6:.0f} MB wait in memory"
        for topic, count in refused.items():
            if count:
                found[f"{topic} refused"] = (
                    f"{topic}: {count} messages were lost, since the disk is too slow"
                )
        return found

    def _say_changes(self, found: dict[str, str]) -> None:
        """Log what is amiss when it begins, and when it is over."""
        before, self._before = self._before, found
        for key, text in found.items():
            if key not in before:
                self._log.warning("%s", text)
        for key in before:
            if key not in found:
                self._log.info("%s: no more", key)
