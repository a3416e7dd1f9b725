"""Rows of the README's table about operators, recordings and datasets."""

from __future__ import annotations

from measurement import Measurement, Results


def _recorder(results: Results) -> str:
    return (
        f"**{results['lost']}** of {results['messages']:,} lost, "
        f"**{results['cpu_percent']:.0f} %** of one core, "
        f"memory {results['memory_growth_mb']:+.1f} MB, "
        f"jitter p99 {results['jitter_p99_added_ms']:+.2f} ms"
    )


def _hand_over(results: Results) -> str:
    silence = results["silence_to_rest_ms"]
    return (
        f"**{results['violations']}** in {results['commands']:,} commands; at rest "
        f"{silence['max']:.0f} ms after the last word at most"
    )


def _dagger(results: Results) -> str:
    success = results["success"]
    low, high = results["gain_low"], results["gain_high"]
    return (
        f"{100 * success['none']:.0f} % before, {100 * success['plain']:.0f} % with plain ones, "
        f"{100 * success['intervention']:.0f} % with interventions: "
        f"**{100 * results['gain']:+.0f} points** ({100 * low:+.0f} to {100 * high:+.0f}), "
        f"{results['seeds']} training seeds"
    )


def _check(results: Results) -> str:
    return (
        f"**{results['found']}** of {results['planted']}, **{results['false_alarms']}** false "
        f"alarms, the worst of {results['rounds']} rounds"
    )


DATA_MEASUREMENTS = (
    Measurement(
        name="recorder",
        what="two 640×480 RGB-D cameras, IMU, joints recorded for 60 s beside the policy",
        command="bench/recorder.py",
        musts="bench/recorder.py",
        must="0 lost, ≤ 60 % of one core, memory flat, jitter p99 within 0.5 ms",
        shown=_recorder,
    ),
    Measurement(
        name="hand-over",
        what="an operator takes the arm and gives it back at random, 100 times; falls silent",
        command="bench/hand_over.py",
        musts="bench/hand_over.py",
        must="no limit broken; silence stops the arm within 100 ms",
        shown=_hand_over,
    ),
    Measurement(
        name="dagger",
        what="20 intervention episodes against 20 plain demonstrations, after 60",
        command="bench/dagger.py --seeds 3",
        musts="bench/dagger.py",
        must="better, by its interval",
        shown=_dagger,
    ),
    Measurement(
        name="data-check",
        what="faults planted in recordings, and 20 good ones",
        command="bench/data_check.py --rounds 3",
        musts="bench/data_check.py",
        must="≥ 11 of 12 found, ≤ 1 false alarm",
        shown=_check,
    ),
)
