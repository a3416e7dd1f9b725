"""What the layers without ROS log goes into the log of the node that they work for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.impl.rcutils_logger import RcutilsLogger


class RosLogHandler(logging.Handler):
    """Hands records on to a node's logger, from any thread."""

    def __init__(self, logger: RcutilsLogger) -> None:
        """Hand on to `logger`."""
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record; rclpy wants a line of its own for each severity."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


@contextmanager
def logging_to(logger: RcutilsLogger) -> Iterator[None]:
    """Let what `vla_ros` logs go to a node's logger, and nowhere else."""
    ours, handler = logging.getLogger("vla_ros"), RosLogHandler(logger)
    before = ours.level, ours.propagate
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(before[0])
        ours.propagate = before[1]
