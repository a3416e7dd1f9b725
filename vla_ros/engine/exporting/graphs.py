"""Makes the graphs of a bundle anew in a precision, and checks each against torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from vla_ros.core.errors import EngineError
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Arrays, Engine, Graph
from vla_ros.engine.exporting.operators import explain_refusal
from vla_ros.engine.exporting.parity import TensorParity, compare, require_parity
from vla_ros.engine.exporting.precisions import CALIBRATED, TOLERANCES
from vla_ros.engine.exporting.quantization import Quantization, quantize
from vla_ros.engine.exporting.simplification import Simplification, simplify
from vla_ros.engine.tensorrt.precision import precision_of, read_typed

#: Where parts of the recorded observations end, as shares of all: those that calibrate, and those
#: that layers are chosen by. What remains is compared.
CALIBRATING, JUDGING = 0.5, 0.7
#: Fewer observations than this are not divided: every part would say too little.
FEWEST_DIVIDED = 30
#: Of a graph: what it computes in, as its backend reports it; and the bundle that it is made of.
PRECISION, PARENT = "precision", "parent_sha256"

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphExport:
    """A graph that was made, and how far it is from torch.

    Attributes:
        name: Its file.
        precision: What it computes in.
        simplification: How it became smaller.
        quantization: What computes in int8 or fp8; None in other precisions.
        parity: Of each output.
        parity_precision: What it was compared in.
        observations: On so many; on others than those that calibrated, unless there are few.
        bytes_before: Size of the file it was made of.
        bytes_after: Its size.
    """

    name: str
    precision: str
    simplification: Simplification
    quantization: Quantization | None
    parity: tuple[TensorParity, ...]
    parity_precision: str
    observations: int
    bytes_before: int
    bytes_after: int

    @property
    def worst(self) -> TensorParity:
        """The output that is farthest from torch, by what is allowed."""
        tolerance = TOLERANCES[self.parity_precision]
        return max(self.parity, key=lambda each: each.excess(tolerance))


class GraphExporter:
    """Makes graphs of one bundle, one after the other."""

    def __init__(
        self, bundle: Path, folder: Path, precision: str, target: str, parent_sha256: str
    ) -> None:
        """Take the bundle, and where the new graphs go."""
        self._bundle, self._folder = bundle, folder
        self._precision, self._target, self._parent = precision, target, parent_sha256

    def export(self, name: str, rows: Rows, say: Callable[[str], None]) -> GraphExport:
        """Make a graph.

        Args:
            name: Its file name.
            rows: Inputs (1, ...) by name, recorded.
            say: Is told what is being done.

        Raises:
            ParityError: if it is too far from torch; names the worst output.
            EngineError: if it cannot be made; names operator, node and module where that is why.
        """
        source, output = self._bundle / name, self._folder / name
        model = onnx.load(source)
        own = precision_of(model)
        if own != "fp32":
            raise EngineError(
                f"{source}: computes in {own} already, and what was rounded stays rounded; export "
                "the bundle that it was made of"
            )
        reference = self._torch(name)
        say(f"{name}: simplifying")
        smaller, simplification = simplify(model)
        onnx.save(smaller, output)
        calibrating, judging, comparing = self._split(rows)
        quantization = self._convert(name, output, calibrating, judging, reference, say)
        say(f"{name}: comparing with torch on {len(comparing)} observations")
        compared, precision = self._comparable(output)
        parity = self._compare(compared, reference, comparing, precision)
        reference.close()
        if compared != output:
            compared.unlink()
        require_parity(name, parity, precision)
        return GraphExport(
            name=name,
            precision=self._precision,
            simplification=simplification,
            quantization=quantization,
            parity=tuple(parity),
            parity_precision=precision,
            observations=len(comparing),
            bytes_before=source.stat().st_size,
            bytes_after=output.stat().st_size,
        )

    def _split(self, rows: Rows) -> tuple[Rows, Rows, Rows]:
        """Return what calibrates, what layers are chosen by, and what is compared.

        They are all the same where nothing is calibrated. Where something is, they are parts that
        follow one another in time, of other scenes: ranges fit best to what they were taken from.
        """
        if self._precision not in CALIBRATED or len(rows) < FEWEST_DIVIDED:
            return rows, rows, rows
        first, second = (round(share * len(rows)) for share in (CALIBRATING, JUDGING))
        return rows[:first], rows[first:second], rows[second:]

    def _convert(
        self,
        name: str,
        path: Path,
        rows: Rows,
        judging: Rows,
        reference: Engine,
        say: Callable[[str], None],
    ) -> Quantization | None:
        """Give the graph its precision; for TensorRT, fp16 and bf16 come when it is built."""
        quantization = None
        if self._precision in CALIBRATED:
            say(f"{name}: calibrating {self._precision} on {len(rows)} observations")
            whole = path.with_name(f"whole-{name}")
            path.rename(whole)

            def judge(candidate: Path) -> float:
                found = self._compare(candidate, reference, judging, self._precision)
                return max(each.excess(TOLERANCES[self._precision]) for each in found)

            symmetric = self._target != "onnx"
            quantization = quantize(
                whole, path, rows, judge, precision=self._precision, symmetric=symmetric
            )
            whole.unlink()
        elif self._precision == "fp16" and self._target == "onnx":
            onnx.save(read_typed(path, "fp16"), path)
        in_graph = self._precision if quantization or self._target == "onnx" else "fp32"
        label(path, {PRECISION: in_graph, PARENT: self._parent})
        return quantization

    def _comparable(self, path: Path) -> tuple[Path, str]:
        """Return what ONNX Runtime can run on this machine's CPU of what was made.

        An engine for a GPU cannot; the graph that it is built of, rounded as it will be, can in
        fp16. In bfloat16 it cannot either, so that is compared in fp32 and the report says so.
        """
        if self._target == "onnx" or self._precision in ("fp32", *CALIBRATED):
            return path, self._precision
        if self._precision == "fp16":
            rounded = path.with_name(f"rounded-{path.name}")
            onnx.save(read_typed(path, "fp16"), rounded)
            return rounded, "fp16"
        return path, "fp32"

    def _compare(
        self, path: Path, reference: Engine, rows: Sequence[Arrays], precision: str
    ) -> list[TensorParity]:
        try:
            engine = open_engine(Graph(path=path), EngineChoice())
        except EngineError as error:
            about = explain_refusal(str(error), onnx.load(path))
            raise EngineError(f"{about}: {error}" if about else str(error)) from error
        found = compare(reference, engine, rows, exact=precision == "fp32")
        engine.close()
        return found

    def _torch(self, name: str) -> Engine:
        graph = Graph(path=self._bundle / name, bundle=self._bundle)
        return open_engine(graph, EngineChoice(backends=("torch",)))


def label(path: Path, notes: dict[str, str]) -> None:
    """Write notes into the metadata of a graph, where backends read them."""
    model = onnx.load(path)
    kept = {prop.key: prop.value for prop in model.metadata_props} | notes
    del model.metadata_props[:]
    for key, value in kept.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
