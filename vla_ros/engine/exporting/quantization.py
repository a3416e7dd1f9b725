"""Makes a graph compute in 8 bits where it looks at images, with scales calibrated on recordings.

Static quantization by ONNX Runtime, in the QDQ form that every backend reads. Convolutions are
where the time of these policies goes; quantizing their transformers too makes them slower (small
matrices: casting costs more than it saves) and a hundred times less exact. Activations are
unsigned bytes, which x86 multiplies fastest, except for TensorRT, whose int8 is signed and
symmetric. fp8 (E4M3) is for GPUs alone; on images it is coarser than int8.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from vla_ros.core.errors import EngineError

#: Of the recorded observations that calibrate. More change the ranges little.
ROWS = 80
#: A convolution with fewer channels than this ends in maps that say where things are, to a
#: fraction of a pixel: it stays in floating point, and it is small.
FEWEST_CHANNELS = 8
#: What goes along with convolutions whose results it takes.
_ALONG = ("Relu", "Add", "MaxPool", "AveragePool")
#: Share of the quantized convolutions that go back to floating point at a time.
_BACK = 0.25

Rows = Sequence[dict[str, NDArray[Any]]]
#: Returns by what factor a graph uses up its tolerance; above 1 it is too far from torch.
Judge = Callable[[Path], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """What was done.

    Attributes:
        nodes: Names of those that compute in 8 bits.
        kept: Names of convolutions that stay in floating point, with the reason.
        rows: Observations that the ranges were taken from.
        method: How ranges were chosen.
        symmetric: Whether activations are signed and zero is in the middle.
    """

    nodes: tuple[str, ...]
    kept: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    method: str = ""
    symmetric: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What numbers become."""

    precision: str
    symmetric: bool

    @property
    def method(self) -> str:
        if self.precision == "fp8":
            return "distribution of the values"
        return "smallest and largest value"

    @property
    def operators(self) -> list[str]:
        return ["Conv"] if self.precision == "fp8" else ["Conv", *_ALONG]

    def nodes(self, model: onnx.ModelProto, convolutions: Sequence[str]) -> list[str]:
        """Return what is quantized with some convolutions."""
        return list(convolutions) if self.precision == "fp8" else _along(model, convolutions)

    def settings(self) -> dict[str, Any]:
        """Return the arguments of ONNX Runtime's quantization."""
        extra = {
            "ActivationSymmetric": self.symmetric or self.precision == "fp8",
            "WeightSymmetric": True,
            # TensorRT wants biases in floating point
            "QuantizeBias": not self.symmetric and self.precision != "fp8",
        }
        if self.precision == "fp8":
            return {
                "per_channel": False,
                "activation_type": QuantType.QFLOAT8E4M3FN,
                "weight_type": QuantType.QFLOAT8E4M3FN,
                "calibrate_method": CalibrationMethod.Distribution,
                "extra_options": {**extra, "scenario": "same"},
            }
        return {
            "per_channel": True,
            "activation_type": QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
            "weight_type": QuantType.QInt8,
            "calibrate_method": CalibrationMethod.MinMax,
            "extra_options": extra,
        }


def quantize(
    source: Path,
    output: Path,
    rows: Rows,
    judge: Judge,
    *,
    precision: str = "int8",
    symmetric: bool = False,
) -> Quantization:
    """Write an 8-bit graph that stays within its tolerance.

    If quantizing all image layers takes it too far from torch, those whose quantization changes
    the outputs most go back to floating point, a quarter at a time.

    Args:
        source: Graph in fp32.
        output: Where the 8-bit graph goes.
        rows: Inputs (1, ...) by name; `ROWS` of them are used at most.
        judge: Says how far a graph is from torch.
        precision: `int8` or `fp8`.
        symmetric: Whether TensorRT is to run it.

    Raises:
        EngineError: if there is nothing to calibrate with, or nothing to quantize.
    """
    if not rows:
        raise EngineError(
            f"{precision} needs recorded observations to calibrate with, and there are none: give "
            "--episodes 1 or more, or a --calibration file"
        )
    model = onnx.load(source)
    candidates, kept = _convolutions(model)
    if not candidates:
        raise EngineError(
            f"{source.name}: has no convolution that {precision} would make faster (with fewer "
            f"than {FEWEST_CHANNELS} channels they stay as they are); take --precision fp32"
        )
    form = _Form(precision=precision, symmetric=symmetric)
    chosen = rows[:: max(1, len(rows) // ROWS)][:ROWS]
    ranking: list[str] = []
    while True:
        nodes = form.nodes(model, candidates)
        _write(source, output, chosen, nodes, form)
        if judge(output) <= 1.0 or len(candidates) == 1:
            return Quantization(
                nodes=tuple(nodes),
                kept=kept,
                rows=len(chosen),
                method=form.method,
                symmetric=symmetric,
            )
        ranking = ranking or _by_sensitivity(source, candidates, chosen[:8], judge, form)
        for name in ranking[: max(1, round(_BACK * len(candidates)))]:
            candidates.remove(name)
            ranking.remove(name)
            kept[name] = "sensitive: quantizing it alone changes the outputs most"
            if len(candidates) == 1:
                break


def _convolutions(model: onnx.ModelProto) -> tuple[list[str], dict[str, str]]:
    """Return the convolutions of images worth quantizing, and why the others are not."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    found: list[str] = []
    kept: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        shape = shapes.get(node.input[1], ())
        if len(shape) != 4:
            kept[node.name] = "no convolution of images: small"
        elif shape[0] < FEWEST_CHANNELS:
            kept[node.name] = f"makes {shape[0]} maps of where things are: to be exact"
        else:
            found.append(node.name)
    return found, kept


def _along(model: onnx.ModelProto, convolutions: Sequence[str]) -> list[str]:
    """Return convolutions with what takes their results alone: bytes stay bytes in between."""
    part = set(convolutions)
    made: dict[str, str] = {}
    for node in model.graph.node:  # in the order of computation
        sources = [made.get(name) for name in node.input]
        if node.op_type in _ALONG and all(source in part for source in sources):
            part.add(node.name)
        made.update(dict.fromkeys(node.output, node.name))
    return [node.name for node in model.graph.node if node.name in part]


def _by_sensitivity(
    source: Path, candidates: Sequence[str], rows: Rows, judge: Judge, form: _Form
) -> list[str]:
    """Return convolutions, that first whose quantization alone takes the graph farthest away."""
    apart: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in candidates:
            path = Path(folder) / source.name
            _write(source, path, rows, [name], form)
            apart[name] = judge(path)
    return sorted(apart, key=lambda name: -apart[name])


def _write(source: Path, output: Path, rows: Rows, nodes: Sequence[str], form: _Form) -> None:
    with _quietly(), redirect_stdout(StringIO()):  # the calibrator prints
        quantize_static(
            str(source),
            str(output),
            _Reader(rows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=form.operators,
            nodes_to_quantize=list(nodes),
            **form.settings(),
        )


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands recorded observations to ONNX Runtime."""

    def __init__(self, rows: Rows) -> None:
        self._rows: Iterator[dict[str, NDArray[Any]]] = iter(rows)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._rows, None)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep back advice that does not apply: the graph is prepared, channels may be all zero."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    finally:
        root.setLevel(level)
