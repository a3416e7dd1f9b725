"""A node that a thread of its own spins, for tests and benches."""

from __future__ import annotations

import threading
from types import TracebackType

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions


class Spinner:
    """Context manager around rclpy, one node and the thread that spins it."""

    def __init__(self, name: str) -> None:
        """Start rclpy and spin a node called `name`."""
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(name)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="spinning")
        self._thread.start()

    def __enter__(self) -> Spinner:
        """Return this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop spinning and end rclpy."""
        self._stopping.set()
        self.executor.wake()
        self._thread.join()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self.executor.spin_once(timeout_sec=0.2)
