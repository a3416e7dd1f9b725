"""What is kept of an episode, to compare it with others and to draw it; small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract import FeatureKind
from vla_ros.core.types import FloatArray
from vla_ros.data.quality.clock_checks import offsets, sight_lag
from vla_ros.data.quality.motion import Lag, measure_lag
from vla_ros.data.quality.signals import Signals, Stream
from vla_ros.data.quality.thresholds import Thresholds

#: Points of a path that is compared with others, of a line that is drawn, of rates at most.
PATH_POINTS, DRAWN_POINTS, RATE_BINS = 64, 240, 40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Line:
    """Values over time, thinned out to be drawn.

    Attributes:
        times_s: From the start of the episode [s], shape (N,).
        values: Shape (N, width).
    """

    times_s: NDArray[np.float32]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """What is kept of an episode.

    Attributes:
        name: Of the episode.
        instruction: What was to be done.
        outcome: Whether it was; "" if nobody said.
        contract_sha256: Of the contract's content.
        contract_name: Its name.
        start_ns: When its first message came [ns].
        duration_s: Length [s].
        path: Measured joints at even times, shape (PATH_POINTS, joints) [rad]; None without.
        path_rad: Length of the joints' path [rad].
        first_pictures: Small grey picture per camera topic.
        lag: From commands to joints; None if nothing moved.
        sights: How much later cameras see the arm move than the joints do [s], by topic; of those
            whose pictures tell.
        offsets: How much older than the others' a sensor's stamps are [s], by topic.
        joints: Names of the joints.
        state: Measured joints to be drawn; None without.
        commands: Commands to be drawn; None without.
        rates: Share of the promised rate over time, by topic; RATE_BINS
            values, or fewer.
        thumbnails: By camera topic: times [s] and JPEG files.
        messages: By topic.
    """

    name: str
    instruction: str = ""
    outcome: str = ""
    contract_sha256: str = ""
    contract_name: str = ""
    start_ns: int = 0
    duration_s: float = 0.0
    path: FloatArray | None = None
    path_rad: float = 0.0
    first_pictures: Mapping[str, FloatArray] = field(default_factory=dict)
    lag: Lag | None = None
    sights: Mapping[str, float] = field(default_factory=dict)
    offsets: Mapping[str, float] = field(default_factory=dict)
    joints: tuple[str, ...] = ()
    state: Line | None = None
    commands: Line | None = None
    rates: Mapping[str, FloatArray] = field(default_factory=dict)
    thumbnails: Mapping[str, tuple[tuple[float, bytes], ...]] = field(default_factory=dict)
    messages: Mapping[str, int] = field(default_factory=dict)


def summarize(signals: Signals, thresholds: Thresholds) -> Summary:
    """Return what is kept of an episode."""
    contract, state = signals.contract, signals.state
    sights = {topic: sight_lag(signals, topic, thresholds) for topic in signals.pictures}
    colours = {spec.topic for spec in contract.observations if spec.kind is FeatureKind.IMAGE}
    return Summary(
        name=signals.folder.name,
        instruction=signals.episode.instruction,
        outcome=str(signals.episode.outcome),
        contract_sha256=contract.sha256,
        contract_name=contract.name,
        start_ns=signals.start_ns,
        duration_s=signals.duration_s,
        path=_path(state),
        path_rad=_path_length(state),
        first_pictures={
            topic: item.first for topic, item in signals.pictures.items() if topic in colours
        },
        lag=measure_lag(signals),
        offsets=offsets(signals),
        sights={topic: lag.seconds for topic, lag in sights.items() if lag is not None},
        joints=contract.action.joints,
        state=_line(signals, state),
        commands=_line(signals, signals.commands),
        rates=_rates(signals),
        thumbnails={
            topic: tuple(
                (float(signals.seconds(time_ns)), data) for time_ns, data in item.thumbnails
            )
            for topic, item in signals.pictures.items()
            if item.thumbnails
        },
        messages={topic: len(stream.log_ns) for topic, stream in signals.streams.items()},
    )


def _path(stream: Stream | None) -> FloatArray | None:
    if stream is None or stream.values is None or len(stream.values) < 2:
        return None
    times = (stream.log_ns - stream.log_ns[0]).astype(np.float64)
    grid = np.linspace(0.0, times[-1], PATH_POINTS)
    return np.stack([np.interp(grid, times, column) for column in stream.values.T], axis=1)


def _path_length(stream: Stream | None) -> float:
    """Return the sum over joints of the way they went, at even times: noise does not add up."""
    path = _path(stream)
    return 0.0 if path is None else float(np.abs(np.diff(path, axis=0)).sum())


def _line(signals: Signals, stream: Stream | None) -> Line | None:
    if stream is None or stream.values is None:
        return None
    step = max(1, -(-len(stream.log_ns) // DRAWN_POINTS))
    return Line(
        times_s=signals.seconds(stream.log_ns[::step]).astype(np.float32),
        values=stream.values[::step].astype(np.float32),
    )


def _rates(signals: Signals) -> dict[str, FloatArray]:
    rates = {}
    promised = {spec.topic: spec.rate_hz for spec in signals.contract.observations}
    action = signals.contract.action
    promised[action.command.topic] = action.control_rate_hz
    span_s = max(signals.duration_s, 1e-3)
    for topic, rate_hz in promised.items():
        # a bin that expects fewer than four messages shows jitter
        bins = max(1, min(RATE_BINS, int(span_s * rate_hz / 4)))
        edges = np.linspace(0.0, span_s, bins + 1)
        stream = signals.streams.get(topic)
        times = signals.seconds(stream.log_ns) if stream is not None else np.zeros(0)
        counts, _ = np.histogram(times, edges)
        rates[topic] = counts / (rate_hz * (edges[1] - edges[0]))
    return rates
