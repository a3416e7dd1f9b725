"""Time alignment: from the streams of all sensors to one observation at one stamp."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract.features import DEPTHS, IMAGES, IMU, STATE
from vla_ros.core.conventions import IMU_WINDOW
from vla_ros.core.errors import ObservationError
from vla_ros.core.types import Observation
from vla_ros.observation.stream import Stream, StreamSpec


class ObservationAligner:
    """Collects samples from any thread and builds observations at the reference camera's stamps.

    The reference is the first camera of the contract. Images are the nearest, joint positions are
    interpolated, the IMU's readings are the last ones before. A required input that is missing,
    stale or malformed means no observation; an optional one is left out, never filled with zeros.
    """

    def __init__(self, specs: Sequence[StreamSpec]) -> None:
        """Take the streams of a contract, by feature.

        Raises:
            ValueError: if there is no camera or no joint state among them.
        """
        self._lock = threading.Condition()
        self._streams = {spec.feature: Stream(spec) for spec in specs}
        cameras = [feature for feature in self._streams if feature.startswith(IMAGES)]
        if not cameras or STATE not in self._streams:
            raise ValueError(f"observations need a camera and {STATE}, got {list(self._streams)}")
        self.reference = cameras[0]

    def add(self, feature: str, stamp_ns: int, value: NDArray[np.generic]) -> None:
        """Take a good sample with its stamp [ns]."""
        with self._lock:
            self._streams[feature].add(stamp_ns, value)
            self._lock.notify_all()

    def refuse(self, feature: str, reason: str) -> None:
        """Take note that a message of `feature` could not be used."""
        with self._lock:
            self._streams[feature].refuse(reason)

    def faults(self, now_ns: int) -> dict[str, str]:
        """Return what is wrong at `now_ns` [ns], by feature; a good stream is absent."""
        with self._lock:
            found = {name: stream.fault(now_ns) for name, stream in self._streams.items()}
        return {name: reason for name, reason in found.items() if reason}

    def wait_for_frame(self, after_ns: int | None, timeout_s: float) -> int | None:
        """Wait for a frame of the reference camera other than `after_ns`; return its stamp [ns].

        Only the newest counts: frames that came while the caller was busy are never queued.
        """
        with self._lock:
            stream = self._streams[self.reference]
            self._lock.wait_for(lambda: stream.newest_ns not in (None, after_ns), timeout_s)
            return None if stream.newest_ns == after_ns else stream.newest_ns

    @property
    def newest_frame_ns(self) -> int | None:
        """Stamp of the reference camera's newest frame [ns]; None without one."""
        with self._lock:
            return self._streams[self.reference].newest_ns

    def settle(self, stamp_ns: int, timeout_s: float) -> None:
        """Wait until every stream that is alive has reached `stamp_ns` [ns], at most `timeout_s`.

        The messages of one instant arrive one after another; a frame that is about to come is
        better than its predecessor.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._settled(stamp_ns), timeout_s)

    def settled(self, stamp_ns: int) -> bool:
        """Return whether `settle` would not wait."""
        with self._lock:
            return self._settled(stamp_ns)

    def _settled(self, stamp_ns: int) -> bool:
        def reached(stream: Stream) -> bool:
            newest = stream.newest_ns
            period_ns = 1e9 / stream.spec.rate_hz
            if newest is None or newest < stamp_ns - 3 * period_ns:
                return True  # dead, or not in step: waiting would be in vain
            return newest >= stamp_ns or period_ns < 15e6

        return all(map(reached, self._streams.values()))

    def wait_for_images(self, stamp_ns: int, timeout_s: float) -> bool:
        """Wait until every camera has reached `stamp_ns` [ns]; return whether they all have."""

        def reached() -> bool:
            return all(
                (stream.newest_ns or -1) >= stamp_ns
                for name, stream in self._streams.items()
                if name.startswith((IMAGES, DEPTHS))
            )

        with self._lock:
            return self._lock.wait_for(reached, timeout_s)

    def build(self, stamp_ns: int, now_ns: int) -> Observation:
        """Return the observation at `stamp_ns`, the stamp of a reference frame [ns].

        Raises:
            ObservationError: if a required input cannot be used; names its topic and why.
        """
        with self._lock:
            values = {name: self._value(name, stamp_ns, now_ns) for name in self._streams}
        present = {name: value for name, value in values.items() if value is not None}
        return Observation(
            stamp_ns=stamp_ns,
            images={k: v.astype(np.uint8, copy=False) for k, v in _under(IMAGES, present)},
            depths={k: v.astype(np.float32, copy=False) for k, v in _under(DEPTHS, present)},
            imu=present[IMU].astype(np.float32) if IMU in present else None,
            state=present[STATE].astype(np.float32),
        )

    def state_at(self, stamp_ns: int) -> NDArray[np.float32] | None:
        """Return the joint positions at a time [ns], (n,) [rad]; None if unknown."""
        with self._lock:
            try:
                return self._streams[STATE].between(stamp_ns).astype(np.float32)
            except ObservationError:
                return None

    def _value(self, name: str, stamp_ns: int, now_ns: int) -> NDArray[np.generic] | None:
        stream = self._streams[name]
        try:
            fault = stream.fault(now_ns)
            if fault:
                raise ObservationError(stream.spec.topic, fault)
            if name == IMU:
                return stream.window(stamp_ns, IMU_WINDOW)
            return stream.between(stamp_ns) if name == STATE else stream.at(stamp_ns)
        except ObservationError:
            if stream.spec.required:
                raise
            return None


def _under(
    prefix: str, values: Mapping[str, NDArray[np.generic]]
) -> list[tuple[str, NDArray[np.generic]]]:
    return [(k.removeprefix(prefix), v) for k, v in values.items() if k.startswith(prefix)]
