"""Opens sessions of ONNX Runtime: which provider, with which settings, on which threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime

from vla_ros.core.errors import EngineError
from vla_ros.engine.cache_folder import cache_folder
from vla_ros.engine.engine import BATCH, EngineOptions, Graph

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
#: Execution provider by the argument that asks for it.
PROVIDERS = {
    "": CPU,
    "cpu": CPU,
    "cuda": CUDA,
    "cuda-graphs": CUDA,
    "tensorrt": TENSORRT,
    "tensorrt-fp16": TENSORRT,
}


def find_provider(argument: str) -> str:
    """Return the execution provider that an argument asks for.

    Raises:
        EngineError: if there is none, or the installed ONNX Runtime lacks it.
    """
    if argument not in PROVIDERS:
        raise EngineError(
            f"onnxruntime:{argument}: no such provider; choose one of "
            + ", ".join(f"onnxruntime:{name}" for name in PROVIDERS if name)
        )
    provider = PROVIDERS[argument]
    offered = onnxruntime.get_available_providers()
    if provider not in offered:
        raise EngineError(
            f"onnxruntime:{argument}: the installed ONNX Runtime {onnxruntime.__version__} has no "
            f"{provider}, only {', '.join(offered)}; replace onnxruntime by onnxruntime-gpu: "
            "requirements/gpu.txt"
        )
    return provider


def open_session(
    graph: Graph, options: EngineOptions, provider: str
) -> onnxruntime.InferenceSession:
    """Return a session on the provider that was asked for.

    Raises:
        EngineError: if ONNX Runtime cannot load the graph, or took another provider.
    """
    if provider != CPU:
        # what pip installed of CUDA and cuDNN is on no library path
        onnxruntime.preload_dlls(directory="")
        options.progress(f"{graph.path.name}: {provider} builds what it runs")
    providers: list[Any] = [(provider, _provider_settings(graph, options, provider))]
    if provider == TENSORRT:
        providers.append((CUDA, _provider_settings(graph, options, CUDA)))
    if provider != CPU:
        providers.append(CPU)  # what it lacks, the CPU has
    try:
        session = onnxruntime.InferenceSession(
            str(graph.path), session_settings(options), providers
        )
    except Exception as error:  # onnxruntime's errors share no base class but this
        raise EngineError(f"{graph.path}: ONNX Runtime cannot load it: {error}") from error
    if session.get_providers()[0] != provider:
        raise EngineError(
            f"{graph.path}: ONNX Runtime took {session.get_providers()[0]} instead of {provider}; "
            "its log says which library it could not load (CUDA or TensorRT of another version?)"
        )
    return session


def session_settings(options: EngineOptions) -> onnxruntime.SessionOptions:
    """Return the settings of a session, whatever its provider."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    affinities = thread_affinities(options.threads, options.cpus)
    if affinities:
        settings.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    settings.log_severity_level = 3
    if options.batch is not None:
        settings.add_free_dimension_override_by_name(BATCH, options.batch)
    return settings


def thread_affinities(threads: int, cpus: Sequence[int]) -> str:
    """Return what ONNX Runtime is told about the threads that it starts; "" for nothing.

    The calling thread is one of those that compute and stays where its owner put it; ONNX Runtime
    counts CPUs from 1. With as many CPUs as threads each has one of its own, else they share all.
    """
    if threads < 2 or not cpus:
        return ""
    if threads == len(cpus):
        return ";".join(str(cpu + 1) for cpu in cpus[1:])
    return ";".join([",".join(str(cpu + 1) for cpu in cpus)] * (threads - 1))


def _provider_settings(graph: Graph, options: EngineOptions, provider: str) -> dict[str, str]:
    if provider == CUDA:
        captured = options.argument == "cuda-graphs"
        # fp32 was asked for; TF32 has 10 bits of mantissa
        return {"use_tf32": "0", "enable_cuda_graph": "1" if captured else "0"}
    if provider != TENSORRT:
        return {}
    # an engine is of one graph, one ONNX Runtime and one GPU; TensorRT names the GPU itself, and
    # takes an engine of other weights for the same if only the nodes are alike
    version = onnxruntime.__version__
    name = f"{_sha256_with_weights(graph)[:16]}-{version}"
    folder = cache_folder(options, "onnxruntime-tensorrt") / name
    folder.mkdir(exist_ok=True)
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder.parent),
        "trt_fp16_enable": "1" if options.argument == "tensorrt-fp16" else "0",
    }


def _sha256_with_weights(graph: Graph) -> str:
    # reads graphs with `onnx`, which comes with requirements/gpu.txt and not with run.txt
    from vla_ros.engine.tensorrt.cache import graph_sha256

    try:
        return graph_sha256(graph)
    except OSError as error:
        raise EngineError(f"{graph.path}: cannot be read: {error}") from error
