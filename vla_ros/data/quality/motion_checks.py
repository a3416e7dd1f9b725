"""Checks of what the robot was told, and of what it did."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vla_ros.core.types import FloatArray
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.motion import measure_lag, moving
from vla_ros.data.quality.signals import Signals, Stream
from vla_ros.data.quality.spans import runs
from vla_ros.data.quality.thresholds import Thresholds


def check_limits(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find commands beyond the contract's limits of position and velocity."""
    stream, limits = signals.commands, signals.contract.limits
    if stream is None or stream.values is None:
        return
    tolerance = thresholds.position_tolerance
    beyond = np.maximum(limits.lower - stream.values, stream.values - limits.upper)
    if (beyond > tolerance).any():
        row, joint = np.unravel_index(int(np.nanargmax(beyond)), beyond.shape)
        count = int((beyond > tolerance).any(axis=1).sum())
        yield _beyond(
            signals, stream, int(row),
            f"{limits.names[joint]} from {limits.lower[joint]:g} to {limits.upper[joint]:g}",
            f"{stream.values[row, joint]:.3f}, and {count} commands beyond limits in all",
        )  # fmt: skip
    speeds = _speeds(stream, signals.contract.action.control_rate_hz)
    if not len(speeds):
        return
    excess = speeds / limits.velocity
    allowed = 1.0 + thresholds.velocity_tolerance
    if (excess > allowed).any():
        row, joint = np.unravel_index(int(np.nanargmax(excess)), excess.shape)
        count = int((excess > allowed).any(axis=1).sum())
        yield _beyond(
            signals, stream, int(row) + 1,
            f"{limits.names[joint]} at {limits.velocity[joint]:g} per second at most",
            f"{speeds[row, joint]:.2f}, and {count} steps too fast in all",
        )  # fmt: skip


def check_lag(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find joints that follow their commands late, before they were given, or not at all."""
    lag = measure_lag(signals)
    if lag is None:
        yield from _check_obeys(signals, thresholds)
        return
    if lag.correlation < thresholds.least_correlation:
        yield Finding(
            check="lag",
            severity=Severity.WARNING,
            topic=signals.contract.action.command.topic,
            expected="joints that do what they are told",
            got=f"motion that fits the commands by {lag.correlation:.2f} of 1 at the best lag",
            remedy="See whether something else moved the robot; drop the episode.",
        )
    elif not -GRID_TOLERANCE_S <= lag.seconds <= thresholds.longest_lag_s:
        yield Finding(
            check="lag",
            severity=Severity.WARNING,
            topic=signals.contract.action.command.topic,
            expected=f"joints that follow within {1e3 * thresholds.longest_lag_s:.0f} ms",
            got=f"{1e3 * lag.seconds:.0f} ms"
            + (": before they were told" if lag.seconds < 0.0 else ""),
            remedy="Mend what stamps them; --fix re-stamps by what is measured.",
        )


def check_idle(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find stretches in which nothing moves."""
    stream = signals.state
    if stream is None or len(stream.log_ns) < 2:
        return
    times = signals.seconds(stream.log_ns)
    for first, last in runs(~moving(stream, thresholds)):
        begin, end = float(times[first]), float(times[last])
        at_end = first == 0 or last == len(times) - 1
        allowed = thresholds.idle_end_s if at_end else thresholds.idle_s
        if end - begin > allowed:
            where = "before the first motion" if first == 0 else "after the last motion"
            yield Finding(
                check="idle",
                severity=Severity.WARNING,
                topic=stream.topic,
                time_s=begin,
                until_s=end,
                expected=f"rest of {allowed:g} s at most {where if at_end else 'between motions'}",
                got=f"{end - begin:.1f} s",
                remedy="--fix trims it." if at_end else "Trim it by hand, or keep it on purpose.",
            )


#: A command that is late by less than this part of a period is on time.
ON_TIME = 0.2
#: A lag may be below 0 by this [s]: two steps of 100 Hz, one of each topic.
GRID_TOLERANCE_S = 0.02


def _check_obeys(signals: Signals, thresholds: Thresholds) -> Iterator[Finding]:
    """Find joints that rest while commands move, or move while commands rest."""
    state, commands = signals.state, signals.commands
    if state is None or commands is None or state.values is None or commands.values is None:
        return
    rows = (state.values, commands.values)
    measured, told = (float(np.nanmax(np.nanmax(x, 0) - np.nanmin(x, 0))) for x in rows)
    if max(measured, told) > 10.0 * thresholds.moves_rad > 10.0 * min(measured, told):
        yield Finding(
            check="lag",
            severity=Severity.ERROR,
            topic=state.topic,
            expected="joints that do what they are told",
            got=f"{measured:.3f} rad of motion where {told:.3f} were commanded",
            remedy="A topic is stuck, or the robot was off; drop the episode.",
        )


def _speeds(stream: Stream, rate_hz: float) -> FloatArray:
    """Return the speeds that commands ask for, (N - 1, joints).

    Commands that came in bursts were meant to be a control period apart; of those that came late,
    one in between may be lost.
    """
    assert stream.values is not None
    steps = 1e-9 * np.diff(stream.log_ns).astype(np.float64)
    periods = np.maximum(1.0, np.ceil(steps * rate_hz - ON_TIME)) / rate_hz
    periods = np.maximum(periods, steps)
    speeds: FloatArray = np.abs(np.diff(stream.values, axis=0)) / periods[:, None]
    return speeds


def _beyond(signals: Signals, stream: Stream, row: int, expected: str, got: str) -> Finding:
    return Finding(
        check="limits",
        severity=Severity.ERROR,
        topic=stream.topic,
        time_s=float(signals.seconds(stream.log_ns[row])),
        expected=expected,
        got=got,
        remedy="No gate was in the way, or it had another contract; drop the episode.",
    )
