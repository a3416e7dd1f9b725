"""The protocol of devices: what an operator holds in the hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from vla_ros.teleop.intent import Intent, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A topic that a device listens to.

    Attributes:
        topic: Its name.
        type: Of its messages, such as `sensor_msgs/msg/Joy`.
        receive: Called with each message, of whatever library that has the same attributes, and
            the time at which it came [ns].
    """

    topic: str
    type: str
    receive: Callable[[Any, int], None]


class Device(Protocol):
    """Turns what an operator does into intents. All but `start` and `stop` return at once."""

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """Topics to subscribe to; called once, before `start`."""
        ...

    def start(self) -> None:
        """Open the device; called when the node is activated.

        Raises:
            UserError: if it cannot be opened; says what is missing.
        """
        ...

    def read(self, now_ns: int) -> Intent | None:
        """Return what the operator wanted last; None before the first word, or after the last.

        Args:
            now_ns: Present time in [ns].
        """
        ...

    def tell(self, situation: Situation) -> None:
        """Show the operator what has become of it; called some 20 times a second."""
        ...

    def stop(self) -> None:
        """Close what `start` has opened; bears being called without it."""
        ...
