"""Watches what comes while it is recorded: rates, stamps, gaps; says what is amiss at once."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from vla_ros.contract import RobotContract
from vla_ros.core.conventions import PATIENCE_NS
from vla_ros.core.stamps import NANOSECONDS
from vla_ros.data.message_file import TopicSpec
from vla_ros.data.recording.settings import Arrival
from vla_ros.observation.rates import RateMonitor

#: A stamp further than this from when its message came is of another clock [ns].
CLOCK_NS = 1_000_000_000
#: Seconds and nanoseconds behind the four bytes that say how a message is encoded.
STAMP = struct.Struct("<iI")
HEADER = "std_msgs/Header header"
ACTION_CHUNK = "vla_ros_interfaces/msg/ActionChunk"


@dataclass(slots=True, kw_only=True)
class _Stream:
    """What is known of a topic."""

    expected_hz: float
    stamped: bool = False
    recent: RateMonitor = field(init=False)
    steady: RateMonitor = field(init=False)
    publishers: int = 1
    last_ns: int = 0
    sequence: int = 0
    stamp_ns: int = 0
    missed: int = 0
    backwards: int = 0
    furthest_back_ns: int = 0
    off_ns: int = 0

    def __post_init__(self) -> None:
        self.recent = RateMonitor(self.expected_hz, window_s=1.0)
        self.steady = RateMonitor(self.expected_hz)


class TopicWatch:
    """Counts the messages of topics. One thread counts, another asks."""

    def __init__(self, contract: RobotContract, now_ns: int) -> None:
        """Expect the contract's topics at their rates from `now_ns` on [ns]."""
        self._lock = threading.Lock()
        self._streams = {
            item.topic: _Stream(expected_hz=item.rate_hz) for item in contract.observations
        }
        self._started_ns = now_ns
        for stream in self._streams.values():
            stream.steady.start(now_ns)

    def add_topic(self, spec: TopicSpec) -> None:
        """Count a topic."""
        with self._lock:
            stream = self._streams.setdefault(spec.name, _Stream(expected_hz=0.0))
            # the first chunk of a plan is stamped when it is sent, the next with its older frame
            stream.stamped = (
                spec.definition.lstrip().startswith(HEADER) and spec.type != ACTION_CHUNK
            )

    def set_publishers(self, topic: str, publishers: int) -> None:
        """Say how many publish a topic: numbers and stamps of several do not line up."""
        with self._lock:
            self._streams[topic].publishers = publishers

    def count(self, arrival: Arrival) -> None:
        """Take note of a message."""
        stream = self._streams[arrival.topic]
        stream.recent.count(arrival.log_ns)
        stream.steady.count(arrival.log_ns)
        stream.last_ns = arrival.log_ns
        before, stream.sequence = stream.sequence, arrival.sequence
        if stream.publishers > 1:
            stream.stamp_ns = 0
            return
        if 0 < before < arrival.sequence - 1:
            stream.missed += arrival.sequence - 1 - before
        if stream.stamped and len(arrival.data) >= 12:
            self._check_stamp(stream, arrival)

    def forget(self) -> None:
        """Begin to count anew what is amiss, as for another episode."""
        with self._lock:
            for stream in self._streams.values():
                stream.missed = stream.backwards = stream.furthest_back_ns = stream.off_ns = 0

    def missed(self) -> int:
        """Return how many messages were lost on their way here, by their publishers' numbers."""
        with self._lock:
            return sum(stream.missed for stream in self._streams.values())

    def rates_hz(self, now_ns: int) -> dict[str, float]:
        """Return the rate of every topic over the last second [Hz]."""
        with self._lock:
            streams = dict(self._streams)
        return {name: item.recent.report(now_ns).rate_hz for name, item in streams.items()}

    def findings(self, now_ns: int) -> dict[str, str]:
        """Return what is amiss, in words, by a key that stays the same while it lasts."""
        with self._lock:
            streams = dict(self._streams)
        found = {}
        for topic, stream in streams.items():
            for kind, text in self._amiss(stream, now_ns):
                found[f"{topic} {kind}"] = f"{topic}: {text}"
        return found

    def _amiss(self, stream: _Stream, now_ns: int) -> Iterator[tuple[str, str]]:
        silent_ns = now_ns - (stream.last_ns or self._started_ns)
        rate = stream.steady.report(now_ns)
        if stream.expected_hz and silent_ns > max(NANOSECONDS, 5e9 / stream.expected_hz):
            if stream.last_ns:
                yield "silent", f"silent for {1e-9 * silent_ns:.1f} s"
            elif silent_ns > PATIENCE_NS:
                yield "silent", "silent: nothing has come yet"
        elif rate.short:
            yield "slow", f"{rate.rate_hz:.1f} Hz; the contract says {stream.expected_hz:g} Hz"
        if stream.missed:
            yield "missed", f"{stream.missed} messages were lost on their way to the recorder"
        if stream.backwards:
            far = f"by up to {1e-9 * stream.furthest_back_ns:.3f} s"
            yield "backwards", f"stamps went back {stream.backwards} times, {far}"
        if stream.off_ns:
            far = f"{abs(stream.off_ns) * 1e-9:.1f} s {'behind' if stream.off_ns < 0 else 'ahead'}"
            yield "clock", f"stamps are {far}: of another clock?"

    def _check_stamp(self, stream: _Stream, arrival: Arrival) -> None:
        sec, nanosec = STAMP.unpack_from(arrival.data, 4)
        stamp_ns = sec * NANOSECONDS + nanosec
        if not stamp_ns:
            return  # not stamped
        back_ns = stream.stamp_ns - stamp_ns
        if back_ns > 0:
            stream.backwards += 1
            stream.furthest_back_ns = max(stream.furthest_back_ns, back_ns)
        stream.stamp_ns = stamp_ns
        off_ns = stamp_ns - arrival.log_ns
        if abs(off_ns) > CLOCK_NS:
            stream.off_ns = off_ns
