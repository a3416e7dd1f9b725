"""The last few samples of one sensor, and what is wrong with it, if anything."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import ObservationError
from vla_ros.core.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """What one sensor stream promises.

    Attributes:
        feature: LeRobot name of the feature, for example `observation.images.front`.
        topic: Where it comes from; named in every error.
        rate_hz: Promised rate [Hz].
        max_age_s: Oldest age that still counts [s].
        required: Whether there is no observation without it.
        frame_bytes: Size of one message [byte]; large ones need a transport that carries them.
        history: Number of samples kept.
    """

    feature: str
    topic: str
    rate_hz: float
    max_age_s: float
    required: bool
    frame_bytes: int = 0
    history: int = 4


class Stream:
    """Samples of one sensor by stamp. Not thread-safe: its owner holds the lock."""

    def __init__(self, spec: StreamSpec) -> None:
        """Start empty."""
        self.spec = spec
        self._samples: deque[tuple[int, NDArray[np.generic]]] = deque(maxlen=spec.history)
        self._fault = ""

    def add(self, stamp_ns: int, value: NDArray[np.generic]) -> None:
        """Take a good sample; one that is older than the newest starts the stream afresh.

        Time that runs backwards means that the driver or the simulator was restarted: what came
        before belongs to another time line.
        """
        if self._samples and stamp_ns < self._samples[-1][0]:
            self._samples.clear()
        if not self._samples or stamp_ns > self._samples[-1][0]:
            self._samples.append((stamp_ns, value))
        self._fault = ""

    def refuse(self, reason: str) -> None:
        """Take note of a bad message: what came before it no longer counts as the present."""
        self._samples.clear()
        self._fault = reason

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest sample [ns]; None when there is none."""
        return self._samples[-1][0] if self._samples else None

    def fault(self, now_ns: int) -> str:
        """Return why the stream cannot be used at `now_ns` [ns], or ''."""
        if self._fault:
            return self._fault
        if not self._samples:
            return "no message has arrived"
        age_s = (now_ns - self._samples[-1][0]) * 1e-9
        if not -self.spec.max_age_s <= age_s <= self.spec.max_age_s:
            return f"newest message is {age_s:.3f} s old, at most {self.spec.max_age_s:g} s counts"
        return ""

    def at(self, stamp_ns: int) -> NDArray[np.generic]:
        """Return the sample nearest to `stamp_ns` [ns].

        Raises:
            ObservationError: if there is none within the oldest age that counts.
        """
        if not self._samples:
            raise ObservationError(self.spec.topic, self._fault or "no message has arrived")
        stamp, value = min(self._samples, key=lambda sample: abs(sample[0] - stamp_ns))
        gap_s = abs(stamp - stamp_ns) * 1e-9
        if not gap_s <= self.spec.max_age_s:
            raise ObservationError(
                self.spec.topic,
                f"nearest message is {gap_s:.3f} s away from the reference camera's frame, "
                f"at most {self.spec.max_age_s:g} s counts",
            )
        return value

    def between(self, stamp_ns: int) -> NDArray[np.generic]:
        """Return the value at `stamp_ns` [ns], on the line between the samples around it.

        A sample of that very time is taken as it is. Where there is none on both sides, the
        nearest counts: nothing is told ahead of time.

        Raises:
            ObservationError: if there is no sample within the oldest age that counts.
        """
        nearest = self.at(stamp_ns)
        before = [sample for sample in self._samples if sample[0] <= stamp_ns]
        after = [sample for sample in self._samples if sample[0] >= stamp_ns]
        if not before or not after or before[-1][0] == stamp_ns:
            return nearest
        (first_ns, first), (last_ns, last) = before[-1], after[0]
        start, end = np.asarray(first, np.float64), np.asarray(last, np.float64)
        return np.asarray(start + (stamp_ns - first_ns) / (last_ns - first_ns) * (end - start))

    def window(self, stamp_ns: int, length: int) -> FloatArray:
        """Return the last `length` samples up to `stamp_ns` [ns], the oldest first, (length, ...).

        Raises:
            ObservationError: if there are not that many, or they span more than twice the time
                that they should.
        """
        taken = [sample for sample in self._samples if sample[0] <= stamp_ns][-length:]
        if len(taken) < length:
            raise ObservationError(
                self.spec.topic, self._fault or f"{len(taken)} of {length} readings have arrived"
            )
        nominal_s = length / self.spec.rate_hz
        span_s = (stamp_ns - taken[0][0]) * 1e-9
        if not span_s <= 2.0 * nominal_s + self.spec.max_age_s:
            raise ObservationError(
                self.spec.topic,
                f"the last {length} readings span {span_s:.3f} s, expected {nominal_s:.3f} s",
            )
        return np.array([value for _, value in taken], np.float64)
