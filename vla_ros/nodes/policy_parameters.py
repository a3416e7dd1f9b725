"""ROS parameters of the `policy` node."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from vla_ros.ros.parameters import parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyParameters:
    """ROS parameters of the node."""

    contract: str = parameter(about="contract name or path")
    bundle: str = parameter(about="directory of the policy bundle")
    backend: str = parameter("onnxruntime", about="engine that runs the bundle")
    fallback: str = parameter("", about="engines that take over where it fails, in this order")
    threads: int = parameter(1, about="threads that one inference may use")
    cpus: str = parameter("", about="CPUs that inference is kept on, from 0: 2,3")
    instruction_timeout_s: float = parameter(
        1.0, about="an instruction that nobody repeats for this long is dropped [s]; 0 = never"
    )
    allow_differences: bool = parameter(
        False, about="run a bundle that was made for another contract"
    )
    adaptive: bool = parameter(False, about="infer only when something has happened")
    scheduling: str = parameter(
        "asynchronous",
        about="how chunks become motion: asynchronous, synchronous, ensemble, real_time or "
        "real_time_trained",
    )
    deadline_s: float = parameter(
        0.0, about="a chunk that comes later after its observation is dropped [s]; 0 = none"
    )
    sensor_reliability: str = parameter("best_effort", about="best_effort or reliable")
    autostart: bool = parameter(True, about="configure and activate at once")

    def __post_init__(self) -> None:
        """Refuse a time-out that is none, and what does not go together."""
        if self.adaptive and self.scheduling.startswith("real_time"):
            raise ValueError(
                f"adaptive, scheduling: {self.scheduling} decides every chunk anew to go on from "
                "the one before, adaptive executes old ones further; leave out one of the two"
            )
        if not (isfinite(self.instruction_timeout_s) and self.instruction_timeout_s >= 0.0):
            raise ValueError(
                "instruction_timeout_s: expected 0 (never) or a duration above 0 s, got "
                f"{self.instruction_timeout_s:g}"
            )
