"""A node for commands that talk to a running graph and wait for its answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from vla_ros.core.errors import UserError
from vla_ros.ros.transport import use_shipped_profile


class GraphClient:
    """Owns rclpy, one node and its executor; whoever waits spins.

    Attributes:
        node: A caller may add subscriptions; they are served while something is awaited.
        interrupted: Whether the user wants to stop; every wait then ends.
    """

    def __init__(self, name: str) -> None:
        """Start rclpy and a node called `name`."""
        self.interrupted = False
        use_shipped_profile()
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(name, enable_rosout=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._clients: dict[str, Client] = {}

    def close(self) -> None:
        """End rclpy."""
        self._executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()
        rclpy.try_shutdown()

    def spin_once(self, timeout_s: float = 0.1) -> None:
        """Serve one callback, or wait [s] for one."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        """Spin until the condition holds.

        Raises:
            UserError: saying `otherwise`, if that takes longer than `timeout_s` [s], or that the
                user interrupted it.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.interrupted:
                raise UserError("interrupted")
            if time.monotonic() > deadline:
                raise UserError(otherwise)
            self.spin_once()

    def answer(self, future: Future, timeout_s: float, who: str) -> Any:
        """Return what a future brings.

        Raises:
            UserError: if `who` does not answer within `timeout_s` [s], or the user interrupts.
        """
        self.wait_for(future.done, timeout_s, f"{who} did not answer within {timeout_s:g} s")
        return future.result()

    def call(self, service: type, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        """Call a service of the graph and return its response.

        Raises:
            UserError: if nothing serves it, or it does not answer within `timeout_s` [s].
        """
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service, name)
        client = self._clients[name]
        self.wait_for(client.service_is_ready, timeout_s, f"nothing serves {name}")
        return self.answer(client.call_async(request), timeout_s, name)
