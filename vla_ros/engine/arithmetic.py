"""How much there is to compute in a graph, counted from its ONNX file."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_ros.core.errors import EngineError

Shape = tuple[int, ...]

#: Operators that only name, move or pick values: no arithmetic.
MOVING = frozenset(
    {
        *("Cast", "Concat", "Constant", "ConstantOfShape", "Expand", "Flatten", "Gather"),
        *("GatherElements", "GatherND", "Identity", "If", "Loop", "Pad", "Range", "Reshape"),
        *("ScatterND", "Shape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
        *("Where", "DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """What one inference of a graph takes, for a batch of one.

    Attributes:
        flops: Floating-point operations of matrix products and convolutions; a multiplication and
            an addition are two.
        other: Operations of everything else, one for each value that comes out.
        parameters: Numbers that are stored in the graph.
        parameter_bytes: Their size, as stored.
        in_out_bytes: Size of inputs and outputs.
        uncounted: Matrix products and convolutions whose shapes are not known, by operator.
    """

    flops: int
    other: int
    parameters: int
    parameter_bytes: int
    in_out_bytes: int
    uncounted: Mapping[str, int] = field(default_factory=dict)


def count_arithmetic(path: Path) -> Arithmetic:
    """Return what an inference of an ONNX file takes; open dimensions count as 1.

    Raises:
        EngineError: if the package `onnx` is missing, or cannot read the file.
    """
    try:
        onnx = importlib.import_module("onnx")
        model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)
    except ImportError as error:
        raise EngineError(
            "counting what a graph computes needs the package onnx: pip install onnx"
        ) from error
    except Exception as error:  # onnx and protobuf raise what they like
        raise EngineError(f"{path}: onnx cannot read it: {error}") from error
    graph = model.graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes: dict[str, Shape] = {value.name: _shape(value) for value in values}
    shapes |= {item.name: tuple(item.dims) for item in graph.initializer}
    known = {value.name for value in values if value.type.tensor_type.HasField("shape")}
    known |= {item.name for item in graph.initializer}
    flops, other, uncounted = 0, 0, Counter[str]()
    for node in graph.node:
        if node.op_type in MOVING:
            continue
        count = FLOPS.get(node.op_type)
        if count is None:
            other += sum(math.prod(shapes[name]) for name in node.output if name in known)
        elif all(name in known for name in (*_operands(node), node.output[0])):
            flops += count(
                node, [shapes[name] for name in _operands(node)], shapes[node.output[0]]
            )
        else:
            uncounted[node.op_type] += 1
    sizes = [(math.prod(item.dims), _itemsize(onnx, item.data_type)) for item in graph.initializer]
    return Arithmetic(
        flops=flops,
        other=other,
        parameters=sum(count for count, _ in sizes),
        parameter_bytes=sum(round(count * size) for count, size in sizes),
        in_out_bytes=sum(
            round(
                math.prod(shapes[value.name]) * _itemsize(onnx, value.type.tensor_type.elem_type)
            )
            for value in (*graph.input, *graph.output)
        ),
        uncounted=dict(uncounted),
    )


def _shape(value: Any) -> Shape:
    return tuple(max(1, item.dim_value) for item in value.type.tensor_type.shape.dim)


def _operands(node: Any) -> tuple[str, str]:
    """Return the names of what is multiplied; the quantized operators list scales between."""
    apart = 3 if node.op_type.startswith("QLinear") else 1
    return node.input[0], node.input[apart]


def _itemsize(onnx: Any, kind: int) -> float:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    name = onnx.TensorProto.DataType.Name(kind)
    return 0.5 if name.endswith("INT4") else float(dtype.itemsize)


def _product(node: Any, operands: Sequence[Shape], made: Shape) -> int:
    return 2 * math.prod(made) * operands[0][-1]


def _gemm(node: Any, operands: Sequence[Shape], made: Shape) -> int:
    turned = any(each.name == "transA" and each.i for each in node.attribute)
    return 2 * math.prod(made) * operands[0][0 if turned else -1]


def _convolution(node: Any, operands: Sequence[Shape], made: Shape) -> int:
    return 2 * math.prod(made) * math.prod(operands[1][1:])  # a kernel is (out, in / groups, ...)


def _transposed(node: Any, operands: Sequence[Shape], made: Shape) -> int:
    return 2 * math.prod(operands[0]) * math.prod(operands[1][1:])


#: Floating-point operations of a node, of the shapes of its operands and of what it makes.
FLOPS: dict[str, Callable[[Any, Sequence[Shape], Shape], int]] = {
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearMatMul": _product,
    "Gemm": _gemm,
    "QGemm": _gemm,
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "QLinearConv": _convolution,
    "ConvTranspose": _transposed,
}
