"""Waits for the disk in a thread of its own, so that whoever writes need not."""

from __future__ import annotations

import contextlib
import threading

from vla_ros.data.message_file import MessageFile


class DiskSync:
    """Every so often waits until the disk has what a file was handed."""

    def __init__(self, period_s: float) -> None:
        """Wait for the disk every `period_s` [s]."""
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disk sync", daemon=True)
        self.file: MessageFile | None = None
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            file = self.file
            if file is not None:
                # it may be closed at this moment; what a disk refuses, closing says as well
                with contextlib.suppress(OSError):
                    file.sync()
