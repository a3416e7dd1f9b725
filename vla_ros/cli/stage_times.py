"""How long each stage of the path from sensor messages to the first command took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vla_ros.engine.timed_engine import EngineCall

#: Stages of one tick in the order of time. `executor` is the way from the policy to the gate.
STAGES = (
    "callback",
    "decode",
    "build",
    "preprocess",
    "infer",
    "postprocess",
    "publish",
    "executor",
    "receive",
    "gate",
    "command",
)
#: Stages that are sensor callback to network input, and network output to command.
BEFORE = ("callback", "decode", "build", "preprocess")
AFTER = ("postprocess", "publish", "executor", "receive", "gate", "command")


@dataclass(slots=True, kw_only=True)
class StageTimes:
    """What each tick took.

    Attributes:
        stages: Durations by stage [ns], one per tick.
        graphs: Durations of the inferences of each graph [ns].
        before: Sensor callback to network input [ns], one per tick.
        after: Network output to command [ns], one per tick.
        taken: Ticks whose chunk the gate took.
    """

    stages: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    graphs: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    taken: int = 0

    def add(self, tick: dict[str, int], calls: list[EngineCall]) -> None:
        """Take a tick's durations [ns] and the engine calls in it."""
        for stage in STAGES:
            self.stages[stage].append(tick.get(stage, 0))
        for call in calls:
            self.graphs[call.graph].append(call.ended_ns - call.began_ns)
        self.before.append(sum(tick.get(stage, 0) for stage in BEFORE))
        self.after.append(sum(tick.get(stage, 0) for stage in AFTER))


def spread(durations_ns: Sequence[int]) -> Mapping[str, float]:
    """Return median, 99th percentile and maximum of durations [ns], in [ms]."""
    p50, p99, most = np.percentile(durations_ns, (50, 99, 100)) * 1e-6
    return {"p50_ms": float(p50), "p99_ms": float(p99), "max_ms": float(most)}
