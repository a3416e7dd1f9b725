"""Topics as the bytes that they come as: found, subscribed as they are offered, and taken.

A thread of its own takes them: rclpy's executor would build a wait set for each message, which
costs more than taking it, and a service that waits for the disk would hold them up.
"""

from __future__ import annotations

import importlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import yaml
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.subscription import Subscription

from vla_ros.core.errors import UserError
from vla_ros.data.message_definitions import make_topic_spec
from vla_ros.data.message_file import TopicSpec
from vla_ros.data.recording.settings import Arrival

#: How often topics are taken from [s], and how often new ones are looked for [s].
TAKE_S, LOOK_S = 0.005, 0.5
#: Messages that may wait in the middleware: of frames a third of a second, of all else more.
DEPTH, FRAME_DEPTH = 200, 12
#: Types whose messages may be large.
FRAMES = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/PointCloud2",
)
#: Infinite durations, as rosbag2 writes them.
FOREVER = {"sec": 9223372036, "nsec": 854775807}


class TakenElsewhere(CallbackGroup):
    """Subscriptions that the executor leaves alone."""

    def can_execute(self, entity: Any) -> bool:
        """Say no."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Say no."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which topics are taken.

    Attributes:
        names: Of them.
        everything: Whether all others are taken too, but for what the middleware keeps to itself.
        at_once: Types of those that are subscribed before anybody is seen to publish them, and
            whether they are latched, by name.
    """

    names: frozenset[str]
    everything: bool = False
    at_once: tuple[tuple[str, str, bool], ...] = ()


class RawTopics:
    """Subscriptions without decoding.

    Attributes:
        refused: Why topics are not taken, by name.
    """

    def __init__(
        self,
        node: Node,
        wanted: Wanted,
        *,
        announce: Callable[[TopicSpec], None],
        receive: Callable[[Arrival], None],
        count_publishers: Callable[[str, int], None],
    ) -> None:
        """Subscribe with `node`, to what is there and to what appears later.

        Args:
            node: Owner of the subscriptions.
            wanted: Which.
            announce: Is told each topic before its first message.
            receive: Is given the messages, in the thread that takes them.
            count_publishers: Is told how many publish a topic, whenever that may have changed.
        """
        self._node, self._wanted = node, wanted
        self._announce, self._receive, self._count = announce, receive, count_publishers
        self._simulated = bool(node.get_parameter("use_sim_time").value)
        self._group = TakenElsewhere()
        self._subscriptions: dict[str, Subscription] = {}
        self._held: list[Arrival] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.refused: dict[str, str] = {}
        for name, kind, latched in wanted.at_once:
            self._subscribe(name, kind, reliable=True, latched=latched, offered=[])
        self.look()

    @property
    def names(self) -> list[str]:
        """Topics that are subscribed."""
        with self._lock:
            return sorted(self._subscriptions)

    def look(self) -> None:
        """Subscribe to what has appeared since."""
        for name, types in self._node.get_topic_names_and_types():
            publishers = self._node.count_publishers(name)
            if name in self._subscriptions:
                self._count(name, publishers)
            elif publishers and name not in self.refused and self._is_wanted(name):
                self._subscribe_as_offered(name, types)

    def run(self) -> None:
        """Take messages until `stop`."""
        while not self._stop.is_set():
            began_s = time.monotonic()
            self.take()
            self._stop.wait(max(0.001, TAKE_S - (time.monotonic() - began_s)))

    def stop(self) -> None:
        """Let `run` return."""
        self._stop.set()

    def close(self) -> None:
        """Unsubscribe, once `run` has returned."""
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def take(self) -> None:
        """Take all that has come, and hand on in the order of time what came before that."""
        began_ns = time.time_ns()
        with self._lock:
            subscriptions = list(self._subscriptions.items())
        found, self._held = self._held, []
        for name, subscription in subscriptions:
            handle = subscription.handle
            with handle:
                while (taken := handle.take_message(subscription.msg_type, True)) is not None:
                    arrival = self._arrival(name, *taken)
                    newer = arrival.log_ns > began_ns and not self._simulated
                    (self._held if newer else found).append(arrival)
        found.sort(key=attrgetter("log_ns"))
        for arrival in found:
            self._receive(arrival)

    def _arrival(self, name: str, data: bytes, info: dict[str, int]) -> Arrival:
        """Return a message with its times: those of the clock of the stamps."""
        if self._simulated:
            now_ns = int(self._node.get_clock().now().nanoseconds)
            return Arrival(name, data, now_ns, now_ns, info["publication_sequence_number"] or 0)
        return Arrival(
            name,
            data,
            info["received_timestamp"],
            info["source_timestamp"],
            info["publication_sequence_number"] or 0,
        )

    def _is_wanted(self, name: str) -> bool:
        return name in self._wanted.names or self._wanted.everything

    def _subscribe_as_offered(self, name: str, types: Sequence[str]) -> None:
        if len(types) > 1:
            self._refuse(name, f"is published with several types: {', '.join(sorted(types))}")
            return
        offered = [item.qos_profile for item in self._node.get_publishers_info_by_topic(name)]
        reliable = all(item.reliability == ReliabilityPolicy.RELIABLE for item in offered)
        latched = all(item.durability == DurabilityPolicy.TRANSIENT_LOCAL for item in offered)
        if not offered:
            return  # gone again
        self._subscribe(name, types[0], reliable=reliable, latched=latched, offered=offered)

    def _subscribe(
        self, name: str, kind: str, *, reliable: bool, latched: bool, offered: list[QoSProfile]
    ) -> None:
        try:
            qos = yaml.safe_dump([describe_profile(item) for item in offered], sort_keys=False)
            spec = make_topic_spec(name, kind, qos=qos if offered else "", latched=latched)
            message_type = message_class(kind)
        except UserError as error:
            self._refuse(name, str(error))
            return
        self._announce(spec)
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=FRAME_DEPTH if kind in FRAMES else DEPTH,
            reliability=(
                ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
            ),
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
            ),
        )
        subscription = self._node.create_subscription(
            message_type, name, _never_called, profile, callback_group=self._group, raw=True
        )
        with self._lock:
            self._subscriptions[name] = subscription

    def _refuse(self, name: str, why: str) -> None:
        self.refused[name] = f"{name}: is not recorded: {why}"
        self._node.get_logger().warning(self.refused[name])


def message_class(kind: str) -> type:
    """Return the class of a message type such as `sensor_msgs/msg/Image`.

    Raises:
        UserError: if its package is not installed.
    """
    package, _, name = kind.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"the message type {kind} cannot be imported ({error}); source the workspace that "
            "has its package"
        ) from error


def describe_profile(profile: QoSProfile) -> dict[str, Any]:
    """Return a profile as rosbag2 writes it since version 9."""
    return {
        "history": _word(profile.history),
        "depth": profile.depth,
        "reliability": _word(profile.reliability),
        "durability": _word(profile.durability),
        "deadline": dict(FOREVER),
        "lifespan": dict(FOREVER),
        "liveliness": _word(LivelinessPolicy(profile.liveliness)),
        "liveliness_lease_duration": dict(FOREVER),
        "avoid_ros_namespace_conventions": bool(profile.avoid_ros_namespace_conventions),
    }


def _word(policy: Any) -> str:
    return re.sub(r"[^a-z_]", "", str(policy.name).lower())


def _never_called(message: Any) -> None:
    """Stand in for a callback: the thread that takes knows what to do."""
