"""The `main` of every node: environment, signals, spinning, and an orderly end."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from vla_ros.core.conventions import EXIT_CONFIGURATION
from vla_ros.core.errors import UserError
from vla_ros.core.processes import follow_parent
from vla_ros.ros.lifecycle import ManagedNode
from vla_ros.ros.log_bridge import logging_to
from vla_ros.ros.transport import use_shipped_profile

#: How long clients of a node that ends are waited for [s], and turns of the executor after that.
ANSWER_S, ANSWER_TURNS = 1.0, 5
SIGNALS = {signal.SIGINT, signal.SIGTERM}


def run_node(
    make: Callable[[], ManagedNode],
    argv: Sequence[str] | None = None,
    make_executor: Callable[[], Executor] = SingleThreadedExecutor,
) -> int:
    """Run a node until SIGINT or SIGTERM and return the exit status.

    No signal interrupts a callback half-way: Python's handlers do nothing, and a thread reads from
    the wake-up descriptor that one came. A second one (`ros2 launch` can send two) does no harm.

    Args:
        make: Makes the node, once rclpy is up.
        argv: Command line, with ROS arguments; None takes the process's own.
        make_executor: Makes the executor that spins the node.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer.fileno())
    follow_parent()
    use_shipped_profile()
    rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    executor = make_executor()
    stopping = threading.Event()
    watcher = threading.Thread(
        target=_await_signal, args=(reader, stopping, executor), name="signals", daemon=True
    )
    watcher.start()
    try:
        return _spin(make, executor, stopping)
    finally:
        rclpy.try_shutdown()


def main_of(
    make: Callable[[], ManagedNode],
    make_executor: Callable[[], Executor] = SingleThreadedExecutor,
) -> Callable[[], None]:
    """Return a console-script `main` for a node."""

    def main() -> None:
        status = run_node(make, None, make_executor)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # one more may come while Python ends
        sys.exit(status)

    return main


def _spin(make: Callable[[], ManagedNode], executor: Executor, stopping: threading.Event) -> int:
    node = make()
    log = ExitStack()
    try:
        log.enter_context(logging_to(node.get_logger()))
        if not node.has_parameter("autostart"):
            node.declare_parameter("autostart", True)
        executor.add_node(node)
        if node.get_parameter("autostart").value:
            node.bring_up()
            node.get_logger().info("active")
        while not stopping.is_set() and node.fatal is None:
            executor.spin_once(timeout_sec=1.0)
        return 0 if node.fatal is None else 1
    except UserError:
        return EXIT_CONFIGURATION  # the lifecycle base has logged it
    finally:
        node.bring_down(answer=lambda: _answer(node, executor))
        log.close()  # the node's logger ends with it
        executor.remove_node(node)
        node.destroy_node()
        executor.shutdown(timeout_sec=1.0)


def _answer(node: ManagedNode, executor: Executor) -> None:
    """Let the node answer those that still wait for it."""
    deadline = time.monotonic() + ANSWER_S
    while node.answering and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
    if node.answering is not None:
        for _ in range(ANSWER_TURNS):  # what has been decided is on its way through the executor
            executor.spin_once(timeout_sec=0.01)


def _await_signal(reader: socket.socket, stopping: threading.Event, executor: Executor) -> None:
    while reader.recv(16):
        stopping.set()
        executor.wake()
