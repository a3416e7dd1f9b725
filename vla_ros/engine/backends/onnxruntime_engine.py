"""ONNX Runtime: on the CPU, or with its CUDA or TensorRT execution provider.

`onnxruntime` runs on the CPU, `onnxruntime:cuda` and `onnxruntime:tensorrt` on an NVIDIA GPU. A
provider that was asked for and does not come is an error: ONNX Runtime itself would take the CPU
and say so in a log at best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.engine import (
    BATCH,
    Arrays,
    EngineDescription,
    EngineOptions,
    Graph,
    TensorSpec,
)
from vla_ros.engine.tensors import checked_inputs, example_inputs, require_outputs

#: Execution provider by the argument that asks for it.
PROVIDERS = {
    "": "CPUExecutionProvider",
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_CPU = "CPUExecutionProvider"
_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxRuntimeEngine:
    """A session whose outputs are written into the same memory each time."""

    def __init__(self, graph: Graph, options: EngineOptions) -> None:
        """Load the graph.

        Raises:
            EngineError: if the provider is not there, or cannot run the graph.
        """
        self._graph = graph
        self._provider = _provider(options.argument)
        self._session = _open_session(graph, options, self._provider)
        self._argument = options.argument
        self._batch = options.batch or 1
        self._inputs = tuple(_spec(item, options.batch) for item in self._session.get_inputs())
        self._outputs = tuple(_spec(item, options.batch) for item in self._session.get_outputs())
        #: Of the outputs whose shape is known; what has an open one is made by ONNX Runtime.
        self._memory: dict[str, np.ndarray[Any, Any]] = {
            spec.name: np.zeros(spec.shape, spec.dtype)
            for spec in self._outputs
            if all(isinstance(size, int) for size in spec.shape)
        }
        self._binding = self._session.io_binding()

    def describe(self) -> EngineDescription:
        """Return what runs here."""
        return EngineDescription(
            backend=f"onnxruntime:{self._argument}" if self._argument else "onnxruntime",
            version=onnxruntime.__version__,
            device="CPU" if self._provider == _CPU else "GPU",
            precision=self._session.get_modelmeta().custom_metadata_map.get("precision", "fp32"),
            graph=self._graph.path.name,
            sha256=self._graph.sha256,
            inputs=self._inputs,
            outputs=self._outputs,
            notes={"provider": self._session.get_providers()[0]},
        )

    def warm_up(self) -> None:
        """Infer from zeros: kernels are chosen and memory is taken in the first inferences."""
        for _ in range(2):
            self.infer(example_inputs(self._inputs, self._batch))

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the outputs; those of fixed shape are in the same memory each time.

        Raises:
            ValueError: if an input is missing or malformed; names it.
            InferenceFailed: if ONNX Runtime fails.
        """
        feed = checked_inputs(self._inputs, inputs)
        wanted = require_outputs(self._outputs, outputs)
        binding = self._binding
        binding.clear_binding_inputs()
        binding.clear_binding_outputs()
        for name, value in feed.items():
            binding.bind_cpu_input(name, value)
        for name in wanted:
            memory = self._memory.get(name)
            if memory is None:
                binding.bind_output(name, "cpu")
            else:
                binding.bind_output(name, "cpu", 0, memory.dtype, memory.shape, memory.ctypes.data)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's errors share no base class but this
            raise InferenceFailed(f"{self._graph.path.name}: ONNX Runtime: {error}") from error
        if all(name in self._memory for name in wanted):
            return {name: self._memory[name] for name in wanted}
        return dict(zip(wanted, binding.copy_outputs_to_cpu(), strict=True))

    def close(self) -> None:
        """Free the session."""
        del self._binding, self._session


def load(graph: Graph, options: EngineOptions) -> OnnxRuntimeEngine:
    """Return an engine of ONNX Runtime.

    Raises:
        EngineError: if the provider is not there, or cannot run the graph.
    """
    return OnnxRuntimeEngine(graph, options)


def _provider(argument: str) -> str:
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


def _open_session(
    graph: Graph, options: EngineOptions, provider: str
) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 3
    if options.batch is not None:
        settings.add_free_dimension_override_by_name(BATCH, options.batch)
    wanted = [provider] if provider == _CPU else [provider, _CPU]  # what it lacks, the CPU has
    try:
        session = onnxruntime.InferenceSession(str(graph.path), settings, wanted)
    except Exception as error:  # onnxruntime's errors share no base class but this
        raise EngineError(f"{graph.path}: ONNX Runtime cannot load it: {error}") from error
    if session.get_providers()[0] != provider:
        raise EngineError(
            f"{graph.path}: ONNX Runtime took {session.get_providers()[0]} instead of {provider}; "
            "its log says which library it could not load (CUDA or TensorRT of another version?)"
        )
    return session


def _spec(item: Any, batch: int | None) -> TensorSpec:
    shape = tuple(
        batch if size == BATCH and batch is not None else size if size else "any"
        for size in item.shape
    )
    return TensorSpec(name=item.name, dtype=_TYPES.get(item.type, item.type), shape=shape)
