"""Gives a graph the types that an engine is to compute in: the libraries take them from there.

fp16 and bf16: what multiplies matrices computes in 16 bits with its weights kept so; the rest,
inputs and outputs too, stays fp32. That is where the time goes, and where a small divisor does not
become 0 (it does when everything is converted: the points that this policy sees were lost so).
int8 and fp8 are not made here: a graph must have been calibrated, and holds its scales then.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vla_ros.core.errors import EngineError
from vla_ros.engine.tensorrt.metadata import PRECISIONS

#: What multiplies matrices.
_DENSE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: ONNX's and numpy's type, and the largest value that does not become infinite.
_HALF = {
    "fp16": (TensorProto.FLOAT16, np.dtype(np.float16), 65504.0),
    "bf16": (TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16), 3.38e38),
}
_WAY_OUT = "`vla_ros export BUNDLE --target tensorrt-rtx --precision int8` makes such a graph"
#: Bytes that a protobuf file may have, with room for the nodes.
_LARGEST_FILE = 1_900_000_000
_FP8 = (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2)


def read_typed(path: Path, precision: str) -> onnx.ModelProto:
    """Return a graph, with all its weights, in the types of a precision.

    Raises:
        EngineError: if the file is no graph, or cannot be had in that precision; says why.
    """
    model = read_graph(path)
    converted = require_precision(path, model, precision)
    types = _types(model) if converted else {}
    model = onnx.load(str(path))  # with its weights, wherever they are
    if converted:
        _narrow(model, precision, types)
    return model


def write_typed(path: Path, precision: str, folder: Path) -> tuple[Path, onnx.ModelProto]:
    """Return a graph in the types of a precision, as a file and as what is in it.

    Args:
        path: The ONNX file; large weights may be in another file beside it.
        precision: fp32, fp16, bf16, int8 or fp8.
        folder: Where a converted graph is written, if it has to be; read only while it is there.

    Raises:
        EngineError: if the file is no graph, or cannot be had in that precision; says why.
    """
    model = read_graph(path)
    if not require_precision(path, model, precision):
        return path, model
    model = read_typed(path, precision)
    typed = folder / f"{path.stem}.{precision}.onnx"
    onnx.save(model, str(typed), save_as_external_data=model.ByteSize() > _LARGEST_FILE)
    return typed, model


def require_precision(path: Path, model: onnx.ModelProto, precision: str) -> bool:
    """Return whether a graph has to be converted to a precision.

    Raises:
        EngineError: if it cannot be had in that precision; says why.
    """
    if precision not in PRECISIONS:
        raise EngineError(f"precision: expected one of {', '.join(PRECISIONS)}, got '{precision}'")
    own = precision_of(model)
    if own == "int8":
        _require_symmetric(path, model)
    if own == precision:
        return False
    if precision in ("int8", "fp8"):
        raise EngineError(
            f"{path}: is a graph in {own}; {precision} wants one with scales calibrated on data: "
            f"`vla_ros export BUNDLE --precision {precision}` with recorded observations makes it"
        )
    if own != "fp32":
        raise EngineError(
            f"{path}: is a graph in {own}, and cannot be run in {precision}: what was rounded "
            f"stays rounded; ask for {own}, or export the bundle anew in {precision}"
        )
    return True


def read_graph(path: Path) -> onnx.ModelProto:
    """Return a graph without weights that are in another file.

    Raises:
        EngineError: if the file is no graph.
    """
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's and onnx's errors share no base class but this
        raise EngineError(f"{path}: is no ONNX graph: {error}") from error


def precision_of(model: onnx.ModelProto) -> str:
    """Return what a graph computes in, as its nodes and weights say."""
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        types = {tensor.data_type for tensor in model.graph.initializer}
        return "fp8" if types & set(_FP8) else "int8"
    sizes: Counter[int] = Counter()
    for tensor in model.graph.initializer:
        sizes[tensor.data_type] += int(np.prod(tensor.dims))
    kinds = {TensorProto.FLOAT: "fp32", **{kind: name for name, (kind, *_) in _HALF.items()}}
    return kinds[max(kinds, key=lambda kind: sizes[kind])]


def _narrow(model: onnx.ModelProto, precision: str, types: dict[str, int]) -> None:
    """Let what multiplies matrices compute in 16 bits, with casts around it."""
    kind, dtype, largest = _HALF[precision]
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    narrow: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        values = [name for name in node.input if name]
        if node.op_type not in _DENSE or any(types.get(v) != TensorProto.FLOAT for v in values):
            nodes.append(node)
            continue
        large = [v for v in values if v in weights and _peak(weights[v]) > largest]
        if large:  # such a weight would become infinite
            nodes.append(node)
            continue
        for index, name in enumerate(node.input):
            if not name:
                continue
            if name not in narrow:
                narrow[name] = f"{name}.{precision}"
                if name in weights:
                    value = numpy_helper.to_array(weights[name]).astype(dtype)
                    graph.initializer.append(numpy_helper.from_array(value, narrow[name]))
                else:
                    nodes.append(_cast(name, narrow[name], kind, node))
            node.input[index] = narrow[name]
        output = node.output[0]
        # the next product takes it as it is, without the cast there and back
        narrow[output] = node.output[0] = f"{output}.{precision}"
        nodes += [node, _cast(narrow[output], output, TensorProto.FLOAT, node)]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]  # whatever it says of types is out of date
    used = {name for node in graph.node for name in node.input}
    # what has no narrow twin stays: the body of a loop, or an output, may name it
    kept = [each for each in graph.initializer if each.name in used or each.name not in narrow]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type by the name of every value."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


def _peak(tensor: onnx.TensorProto) -> float:
    value = numpy_helper.to_array(tensor)
    return float(np.abs(value).max()) if value.size else 0.0


def _cast(source: str, result: str, kind: int, beside: onnx.NodeProto) -> onnx.NodeProto:
    """Return a cast that says that it comes from the same module as the node beside it."""
    node = helper.make_node("Cast", [source], [result], name=f"cast {source} to {result}", to=kind)
    node.metadata_props.extend(beside.metadata_props)
    return node


def _require_symmetric(path: Path, model: onnx.ModelProto) -> None:
    """Refuse int8 with zero points: the libraries' int8 has none, whatever the graph says.

    Raises:
        EngineError: if a scale has one, or is for unsigned bytes; names the node.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        bias = weights.get(node.input[0])
        if bias is not None and bias.data_type == TensorProto.INT32:
            raise EngineError(
                f"{path}: {node.op_type} '{node.name}' gives a bias of 32-bit integers; TensorRT "
                f"wants biases in fp32 ({_WAY_OUT})"
            )
        if len(node.input) < 3:
            continue
        zero = weights.get(node.input[2])
        if zero is None:
            continue
        if zero.data_type == TensorProto.UINT8 or numpy_helper.to_array(zero).any():
            raise EngineError(
                f"{path}: {node.op_type} '{node.name}' has a zero point; TensorRT's int8 is "
                f"symmetric and signed ({_WAY_OUT})"
            )
