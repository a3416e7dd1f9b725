"""The episodes of a recording that are there: labelled, put aside, taken back, counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vla_ros.core.errors import UserError
from vla_ros.data.episode import DISCARDED, Episode, Outcome, read_episode, write_episode
from vla_ros.data.recording.episode_writer import EpisodeWriter, describe_refusal
from vla_ros.data.recording.recording_folder import RecordingFolder


class RecordedEpisodes:
    """What may be done with an episode that is over, or under way.

    Attributes:
        last: Folder of the episode that is recorded, or of the last one; None for none.
        completed: How many are complete.
    """

    def __init__(self, place: RecordingFolder) -> None:
        """Count those of a folder."""
        self._place = place
        self.last: Path | None = None
        self.completed = place.completed()

    def count(self) -> None:
        """Count anew."""
        self.completed = self._place.completed()

    def label(
        self, outcome: Outcome, text: str, number: int, writer: EpisodeWriter | None
    ) -> Episode:
        """Say what came of an episode.

        Args:
            outcome: Whether it did what it was to do.
            text: Anything else.
            number: Of the episode; -1 is this or the last one.
            writer: Of the episode that is under way.

        Raises:
            UserError: if there is no such episode, or the disk refuses.
        """
        folder = self._place.find(number) if number >= 0 else self._current()
        under_way = writer is not None and writer.folder == folder
        before = writer.episode if writer is not None and under_way else read_episode(folder)
        episode = replace(before, outcome=outcome, label=text)
        try:
            if writer is not None and under_way:
                writer.describe(episode)
            else:
                write_episode(folder, episode)
        except OSError as error:
            raise UserError(f"{folder}: {describe_refusal(error)}") from error
        return episode

    def discard(self) -> Path:
        """Put the last episode aside; return the folder that it had.

        Raises:
            UserError: if there is none.
        """
        folder, self.last = self._current(), None
        self._place.discard(folder)
        self.count()
        return folder

    def undo(self) -> Path:
        """Take back what was discarded last; return its folder.

        Raises:
            UserError: if nothing is discarded.
        """
        folder = self._place.restore()
        self.count()
        return folder

    def _current(self) -> Path:
        if self.last is None:
            raise UserError(f"no episode was recorded since the start, or it is in {DISCARDED}/")
        return self.last
