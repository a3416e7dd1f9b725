"""What `vla_ros export` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vla_ros.engine.exporting.precisions import CALIBRATED
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

    @property
    def backend(self) -> str:
        """What runs what is made: of the engines, that which was built and no other."""
        if self.target == "onnx":
            return "onnxruntime"
        return f"{self.target.replace('-', '_')}:{self.precision},prebuilt"

    @property
    def graph_precision(self) -> str:
        """What the graphs compute in; to fp16 and bf16 TensorRT rounds them as it builds."""
        stays = self.target == "onnx" or self.precision in CALIBRATED
        return self.precision if stays else "fp32"

    @property
    def names(self) -> tuple[str, str]:
        """What `source` and `output` are called: by their folders, or paths if those are alike."""
        source, output = self.source.resolve().name, self.output.resolve().name
        return (str(self.source), str(self.output)) if source == output else (source, output)
