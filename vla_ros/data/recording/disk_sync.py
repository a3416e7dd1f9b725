"""Waits for the disk in a thread of its own, so that whoever writes need not."""

from __future__ import annotations

import threading

from vla_ros.data.message_file import MessageFile


class DiskSync:
    """Every so often waits until the disk has what a file was handed."""

    def __init__(self, period_s: float) -> None:
        """Wait for the disk every `period_s` [s]."""
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disk sync", daemon=True)
        self._file: MessageFile | None = None
        self._error: OSError | None = None
        self._thread.start()

    def watch(self, file: MessageFile | None) -> None:
        """Wait for this file from now on; None for none, before it is closed."""
        self._file = file

    def check(self) -> None:
        """Raise what the disk has refused meanwhile: Linux says it once, and not at the end again.

        Raises:
            OSError: as the system put it.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            file = self._file
            if file is None:
                continue
            try:
                file.sync()
            except OSError as error:
                if self._file is file:  # else it was closed at this moment
                    self._error = error
