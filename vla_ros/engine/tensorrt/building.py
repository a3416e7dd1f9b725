"""Builds an engine from a graph."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import BATCH, Graph, TensorSpec
from vla_ros.engine.tensorrt.cache import key_of
from vla_ros.engine.tensorrt.files import replace_file
from vla_ros.engine.tensorrt.library import Library, load_library
from vla_ros.engine.tensorrt.metadata import EngineKey, EngineMetadata, check_header
from vla_ros.engine.tensorrt.parsing import parse_graph, with_modules
from vla_ros.engine.tensorrt.precision import write_typed
from vla_ros.engine.tensorrt.target import find_device
from vla_ros.policy.bundle import DESCRIPTION, file_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """An engine file, and what is known of it.

    Attributes:
        path: The engine file; its metadata is beside it.
        metadata: The same, read.
    """

    path: Path
    metadata: EngineMetadata


def build_engine(
    graph: Graph,
    *,
    library: str,
    precision: str,
    compute_capability: str | None,
    output: Path,
    most: int = 1,
    fewest: int = 1,
    timing_cache: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> BuiltEngine:
    """Build one engine and write it, its metadata beside it.

    Args:
        graph: Of which; only its first dimension, the batch, may be open.
        library: `tensorrt` or `tensorrt_rtx`.
        precision: fp32, fp16, bf16, int8 or fp8; the last two want a calibrated graph.
        compute_capability: Such as SM86, to build for another GPU (`tensorrt_rtx` only, and with
            no GPU here); None for the GPU of this machine.
        output: Folder for the file, whose name says what it is.
        most: Robots that one inference may serve.
        fewest: Robots that one inference serves at least. Equal to `most`: the shape is fixed,
            which is fastest.
        timing_cache: File in which `tensorrt` keeps how fast kernels were; built again, the same
            graph takes seconds instead of minutes.
        progress: Is told what is being done.

    Raises:
        EngineError: if the library is missing, cannot build for that GPU or in that precision, or
            cannot run a node of the graph: names operator, node and module.
    """
    if not 1 <= fewest <= most:
        raise EngineError(f"robots: expected 1 <= fewest <= most, got {fewest} and {most}")
    lib = load_library(library)
    device = find_device(lib, compute_capability)
    key = key_of(
        graph,
        library=lib.name,
        version=lib.version,
        device=device,
        precision=precision,
        fewest=fewest,
        most=most,
    )
    progress(f"{graph.path.name}: {lib.title} {lib.version} builds it in {precision} for {device}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        typed = write_typed(graph.path, precision, Path(folder))
        plan, inputs, outputs = _build(lib, graph, typed, key, timing_cache, progress)
    metadata = EngineMetadata(
        key=key,
        bundle_sha256=_bundle_sha256(graph),
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        engine_bytes=len(plan),
        inputs=inputs,
        outputs=outputs,
        built_s=round(time.monotonic() - began, 3),
    )
    path = output / key.file_name
    _write(path, plan, metadata)
    progress(f"{path.name}: {len(plan) / 1e6:.1f} MB, built in {metadata.built_s:.1f} s")
    return BuiltEngine(path=path, metadata=metadata)


def _build(
    lib: Library,
    graph: Graph,
    typed: tuple[Path, onnx.ModelProto],
    key: EngineKey,
    timing_cache: Path | None,
    progress: Callable[[str], None],
) -> tuple[bytes, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    log = lib.log()
    log.errors.clear()
    builder = lib.api.Builder(log)
    network = builder.create_network(lib.network_flags())
    parser = parse_graph(lib, network, log, graph.path, typed)
    config = builder.create_builder_config()
    config.progress_monitor = lib.monitor(lambda text: progress(f"{graph.path.name}: {text}"))
    config.clear_flag(lib.api.BuilderFlag.TF32)  # fp32 means fp32
    _set_shapes(builder, network, config, key, graph.path)
    if key.device in lib.capabilities:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(lib.api.ComputeCapability, key.device), 0)
    if timing_cache is not None and lib.times_when_building:
        kept = timing_cache.read_bytes() if timing_cache.is_file() else b""
        # what is spoiled is not taken, and times of another GPU or version are ignored
        times = config.create_timing_cache(kept) or config.create_timing_cache(b"")
        config.set_timing_cache(times, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"{graph.path}: {lib.title} {lib.version} cannot build it for {key.device}: "
            + with_modules("; ".join(log.errors) or "it does not say why", typed[1])
        )
    if timing_cache is not None and lib.times_when_building:
        _keep_times(timing_cache, bytes(config.get_timing_cache().serialize()), progress)
    inputs = tuple(_spec(network.get_input(i), key) for i in range(network.num_inputs))
    outputs = tuple(_spec(network.get_output(i), key) for i in range(network.num_outputs))
    del parser  # it owns the weights that the network refers to: not earlier than here
    return bytes(plan), inputs, outputs


def _keep_times(file: Path, times: bytes, progress: Callable[[str], None]) -> None:
    """Keep how fast kernels were; an engine that took minutes is not lost for want of that."""
    try:
        replace_file(file, times)
    except OSError as error:
        progress(f"{file}: the times of kernels cannot be kept: {error}")


def _set_shapes(builder: Any, network: Any, config: Any, key: EngineKey, path: Path) -> None:
    """Fix the batch, or say how large it may be."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if any(size == -1 for size in shape[1:]):
            raise EngineError(
                f"{path}: input {tensor.name} has the shape {shape}; only its first dimension, "
                f"the batch, may be open"
            )
        if not shape or shape[0] != -1:
            continue
        smallest, largest = ((robots, *shape[1:]) for robots in (key.fewest, key.most))
        if key.fewest == key.most:
            tensor.shape = largest
        else:
            profile.set_shape(tensor.name, smallest, smallest, largest)
    if key.fewest != key.most:
        config.add_optimization_profile(profile)


def _spec(tensor: Any, key: EngineKey) -> TensorSpec:
    shape = tuple(BATCH if size == -1 else int(size) for size in tensor.shape)
    if BATCH in shape[1:]:
        raise EngineError(
            f"output {tensor.name}: has the shape {tuple(tensor.shape)}; only its first "
            "dimension, the batch, may be open: fix the number of robots"
        )
    if tensor.dtype.name not in _TYPES:
        raise EngineError(
            f"{tensor.name}: is {tensor.dtype.name}; inputs and outputs must be one of "
            f"{', '.join(_TYPES.values())}"
        )
    return TensorSpec(name=tensor.name, dtype=_TYPES[tensor.dtype.name], shape=shape)


#: numpy's names of the library's types.
_TYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT64": "int64",
    "INT32": "int32",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
}


def _bundle_sha256(graph: Graph) -> str:
    if graph.bundle is None or not (graph.bundle / DESCRIPTION).is_file():
        return ""
    return file_sha256(graph.bundle / DESCRIPTION)


def _write(path: Path, plan: bytes, metadata: EngineMetadata) -> None:
    """Write both files so that no reader ever sees one of them half."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, plan)
        check_header(path, metadata.key)
        metadata.write(path)
    except OSError as error:
        raise EngineError(f"{path}: cannot be written: {error}") from error
