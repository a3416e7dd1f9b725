"""Episodes made of numbers, in which every check finds nothing, to be spoilt one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.contract import FeatureKind, load_contract
from vla_ros.core.types import FloatArray
from vla_ros.data.episode import Episode, State
from vla_ros.data.quality.signals import SMALL, PictureStream, Signals, Stream

START_NS = 1_700_000_000_000_000_000
DURATION_S, LAG_S = 4.0, 0.05
FRONT, WRIST, DEPTH = "/camera/front/image_raw", "/camera/wrist/image_raw", "/camera/front/depth"
JOINTS, IMU, COMMANDS = "/joint_states", "/imu", "/forward_position_controller/commands"


def sway(times_s: FloatArray) -> FloatArray:
    """Return joint positions (N, 6) [rad] of a motion that repeats nothing."""
    phases = np.arange(6)
    return (
        0.5 + 0.4 * np.sin(1.7 * times_s[:, None] + phases) + 0.2 * np.sin(4.1 * times_s[:, None])
    )


def make_signals(
    streams: Mapping[str, Stream | None] | None = None,
    pictures: Mapping[str, PictureStream] | None = None,
    **values: Any,
) -> Signals:
    """Return a good episode of the simulated arm; other streams, and values, take the place."""
    contract = load_contract("tabletop_sim")
    made: dict[str, Stream] = {}
    seen: dict[str, PictureStream] = {}
    for spec in contract.observations:
        times_s = np.arange(0.0, DURATION_S, 1.0 / spec.rate_hz)
        stamps = START_NS + np.round(1e9 * times_s).astype(np.int64)
        numbers = {FeatureKind.STATE: sway(times_s - LAG_S), FeatureKind.IMU: sway(times_s)}
        made[spec.topic] = Stream(
            topic=spec.topic,
            type=spec.type,
            log_ns=stamps + 5_000_000,
            stamp_ns=stamps,
            values=numbers.get(spec.kind),
        )
        if spec.camera:
            seen[spec.topic] = make_pictures(made[spec.topic])
    times_s = np.arange(0.0, DURATION_S, 0.01)
    log_ns = START_NS + np.round(1e9 * times_s).astype(np.int64)
    command = contract.action.command
    made[command.topic] = Stream(
        topic=command.topic, type=command.type, log_ns=log_ns, values=sway(times_s)
    )
    for topic, stream in (streams or {}).items():
        made.pop(topic)
        if stream is not None:
            made[topic] = stream
    signals = Signals(
        folder=Path("episode_000000"),
        episode=Episode(number=0, state=State.COMPLETE, instruction="lift the red cube"),
        contract=contract,
        start_ns=START_NS,
        end_ns=START_NS + round(1e9 * DURATION_S),
        streams=made,
        pictures=seen | dict(pictures or {}),
        instructions=((START_NS, "lift the red cube"),),
    )
    return replace(signals, **values)


def make_pictures(stream: Stream) -> PictureStream:
    """Return pictures that change all the time, of medium brightness."""
    count = len(stream.log_ns)
    return PictureStream(
        stream=stream,
        digests=np.arange(count, dtype=np.uint32),
        dark=np.full(count, 0.1),
        bright=np.zeros(count),
        contrast=np.full(count, 40.0),
        level=np.full(count, 100.0),
        motion=np.full(count, 2.0),
        first=np.zeros((SMALL, SMALL)),
    )


def pick(stream: Stream, kept: Any) -> Stream:
    """Return the messages of a stream at some indices, or where a mask holds."""
    return replace(
        stream,
        log_ns=stream.log_ns[kept],
        stamp_ns=None if stream.stamp_ns is None else stream.stamp_ns[kept],
        values=None if stream.values is None else stream.values[kept],
    )
