"""What makes a recording useless for a dataset: named, with the episode and the time.

This is about what cannot be read as the contract says. Whether what can be read is worth learning
from is what `vla_ros data check` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from vla_ros.contract import ObservationSpec, RobotContract, differences
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.data.episode import State
from vla_ros.data.episode_index import full_name
from vla_ros.data.frames import Frame, RecordedEpisode

#: Differences of contracts that change nothing about what is recorded.
HARMLESS = ("max_age_s", "required", "home", "blend_s", "workspace", "control_rate_hz")
#: A reference camera whose rate is off by more than this part has another rate.
RATE_TOLERANCE = 0.05


class BadRecording(UserError):
    """An episode that cannot be converted.

    Attributes:
        time_s: When in the episode [s]; NaN if it is about all of it.
        reason: What was expected, what came.
    """

    def __init__(self, episode: RecordedEpisode, reason: str, time_ns: int | None = None) -> None:
        """Name the episode, the time and the reason."""
        start_ns = episode.info.start_ns
        self.time_s = float("nan") if time_ns is None else 1e-9 * (time_ns - start_ns)
        self.reason = reason
        when = "" if time_ns is None else f"at {self.time_s:.3f} s: "
        super().__init__(f"{episode.folder}: {when}{reason}")


def check_recording(
    episode: RecordedEpisode, features: Collection[str], *, keep_cut: bool = False
) -> None:
    """Check what can be told before anything is decoded.

    Args:
        episode: Opened with the contract of the dataset.
        features: Observations that are wanted.
        keep_cut: Take what is whole of an episode that was cut off.

    Raises:
        BadRecording: if it was cut off, lacks a topic, has one of another type, is stamped by
            another clock, or its reference camera has another rate.
    """
    contract, index = episode.contract, episode.index
    if not keep_cut:
        _check_whole(episode)
    wanted = [item for item in contract.observations if item.feature in features]
    command = contract.action.command
    for topic, kind in [
        *((item.topic, item.type) for item in wanted),
        (command.topic, command.type),
    ]:
        name = full_name(topic)
        if name not in index.types:
            raise BadRecording(episode, f"there is no message of {topic} ({kind})")
        if index.types[name] != kind:
            raise BadRecording(
                episode, f"{topic} has type {index.types[name]}, the contract says {kind}"
            )
    if not len(index.commands.since_ns):
        time_ns, reason = index.commands.refused[0]
        raise BadRecording(episode, f"{command.topic}: {reason}", time_ns)
    for item in wanted:
        _check_clock(episode, item)
    _check_rate(episode)


def check_contract(episode: RecordedEpisode, wanted: RobotContract) -> None:
    """Check that an episode, opened with its own contract, was recorded with that of a dataset.

    Raises:
        BadRecording: if not; names what differs.
    """
    found = [
        item
        for item in differences(wanted, episode.contract)
        if not item.key.endswith(HARMLESS)
        and (item.breaking or item.key.startswith(("observation.", "action.command")))
        and item.trained != "none"  # a sensor more does no harm
    ]
    if found:
        texts = "; ".join(
            f"{item.key} is {item.running}, the dataset's is {item.trained}" for item in found
        )
        raise BadRecording(episode, f"was recorded with another contract: {texts}")


@dataclass(slots=True)
class FrameChecks:
    """Yields an episode's frames as long as they make a dataset's rows without a hole.

    Attributes:
        episode: Whose frames.
        lacks: Says which feature a frame lacks, or ''.
        leading: Frames left out at the beginning, before every feature was there.
    """

    episode: RecordedEpisode
    lacks: Callable[[Frame], str]
    leading: int = 0
    _begun: bool = False
    _last_ns: int = 0
    _bad: list[BadRecording] = field(default_factory=list)
    _why: str = ""

    def frames(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            BadRecording: at the first message that cannot be used, or hole among the frames.
        """
        episode = self.episode
        longest_ns = round(1e9 * episode.contract.observation(episode.reference).max_age_s)
        for frame in episode.frames(on_gap=self._on_gap, on_refusal=self._on_refusal):
            self._raise()
            lacking = self.lacks(frame)
            if lacking and self._begun:
                raise BadRecording(
                    episode, f"{lacking} is missing, and was there before", frame.stamp_ns
                )
            if lacking:
                self.leading += 1
                self._why = f"{lacking} is missing"
                continue
            hole_ns = frame.stamp_ns - self._last_ns
            if self._begun and not 0 < hole_ns <= longest_ns:
                topic = episode.contract.observation(episode.reference).topic
                raise BadRecording(
                    episode,
                    f"{topic} brings no frame for {1e-9 * hole_ns:.3f} s; at most "
                    f"{1e-9 * longest_ns:g} s count",
                    self._last_ns,
                )
            self._begun, self._last_ns = True, frame.stamp_ns
            yield frame
        self._raise()
        if not self._begun:
            why = self._why or "the reference camera has no frame"
            raise BadRecording(episode, f"there is no frame with all features: {why}")

    def _on_gap(self, stamp_ns: int, error: ObservationError) -> None:
        if self._begun:
            self._bad.append(BadRecording(self.episode, str(error), stamp_ns))
        else:
            self.leading += 1
            self._why = str(error)

    def _on_refusal(self, time_ns: int, error: ObservationError) -> None:
        self._bad.append(BadRecording(self.episode, str(error), time_ns))

    def _raise(self) -> None:
        if self._bad:
            raise self._bad[0]


def _check_whole(episode: RecordedEpisode) -> None:
    info, times = episode.info, episode.index.times
    if info.state is not State.COMPLETE:
        last = max((int(each[-1]) for each in times.values() if len(each)), default=None)
        why = info.cut or f"its state is {info.state.value}"
        raise BadRecording(
            episode, f"was cut off: {why}. Take what is whole with --keep-cut", last
        )
    for topic, expected in info.topics.items():
        found = len(times.get(topic, ()))
        if found < expected:
            last = max((int(each[-1]) for each in times.values() if len(each)), default=None)
            raise BadRecording(
                episode,
                f"was cut off: {found} of {expected} messages of {topic} can be read. Take what "
                "is whole with --keep-cut",
                last,
            )


def _check_clock(episode: RecordedEpisode, item: ObservationSpec) -> None:
    name = full_name(item.topic)
    times, stamps = episode.times(name), episode.stamps(name)
    if len(times) != len(stamps):
        raise BadRecording(episode, f"{item.topic}: there are messages without a stamp")
    late_s = 1e-9 * (times - stamps)
    far = np.abs(late_s) > max(item.max_age_s, 0.5)
    if far.any():
        first = int(np.flatnonzero(far)[0])
        raise BadRecording(
            episode,
            f"{item.topic}: the stamp is {late_s[first]:.3f} s before the message came, which is "
            f"of another clock ({int(far.sum())} of {len(far)} messages)",
            int(times[first]),
        )


def _check_rate(episode: RecordedEpisode) -> None:
    item = episode.contract.observation(episode.reference)
    stamps = episode.stamps(full_name(item.topic))
    if len(stamps) < 3:
        raise BadRecording(episode, f"{item.topic} has {len(stamps)} frames")
    steps_s = 1e-9 * np.diff(stamps)
    steady_s = steps_s[steps_s < 1.7 * np.median(steps_s)]  # a frame that was lost is no rate
    rate_hz = 1.0 / max(float(steady_s.mean()), 1e-9) if len(steady_s) else 0.0
    if abs(rate_hz / item.rate_hz - 1.0) > RATE_TOLERANCE:
        raise BadRecording(
            episode,
            f"{item.topic} has {rate_hz:.1f} frames/s, the contract says {item.rate_hz:g}",
        )
