"""What `vla_ros export` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vla_ros.engine.exporting.timing import ROUNDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is wanted.

    Attributes:
        source: Directory of the bundle.
        output: Directory that is made.
        target: One of `precisions.TARGETS`.
        precision: One of `precisions.PRECISIONS`.
        capabilities: Compute capabilities that engines are built for ahead, such as SM86.
        robots: That one inference of an engine serves at most.
        threads: CPU threads of one inference, as it will be used.
        rounds: How often each engine has its turn when they are timed.
    """

    source: Path
    output: Path
    target: str = "onnx"
    precision: str = "fp32"
    capabilities: tuple[str, ...] = ()
    robots: int = 1
    threads: int = 1
    rounds: int = ROUNDS
