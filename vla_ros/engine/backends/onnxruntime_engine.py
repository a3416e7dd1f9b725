"""ONNX Runtime: on the CPU, or with its CUDA or TensorRT execution provider.

`onnxruntime` runs on the CPU, `onnxruntime:cuda`, `onnxruntime:cuda-graphs`,
`onnxruntime:tensorrt` and `onnxruntime:tensorrt-fp16` on an NVIDIA GPU. A provider that was asked
for and does not come is an error: ONNX Runtime itself would take the CPU and say so in a log at
best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.backends.local_engine import LocalEngine
from vla_ros.engine.backends.onnxruntime_binding import (
    Binding,
    DeviceBinding,
    HostBinding,
    fixed_shape,
)
from vla_ros.engine.backends.onnxruntime_session import CPU, find_provider, open_session
from vla_ros.engine.conflicts import require_one_onnxruntime
from vla_ros.engine.engine import BATCH, Arrays, EngineOptions, Graph, TensorSpec
from vla_ros.engine.tensors import checked_inputs, require_outputs

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


class OnnxRuntimeEngine(LocalEngine):
    """A session whose outputs are written into the same memory each time."""

    name, version = "onnxruntime", onnxruntime.__version__

    def __init__(self, graph: Graph, options: EngineOptions) -> None:
        """Load the graph.

        Raises:
            EngineError: if the provider is not there, or cannot run the graph.
        """
        require_one_onnxruntime()
        super().__init__(graph, options)
        self._provider = find_provider(options.argument)
        self._session = open_session(graph, options, self._provider)
        self._inputs = tuple(_spec(item, options.batch) for item in self._session.get_inputs())
        self._outputs = tuple(_spec(item, options.batch) for item in self._session.get_outputs())
        self._binding = self._bind()
        self._device = "CPU" if self._provider == CPU else "GPU"
        self._precision = self._said_precision()
        self._notes = {**self._notes, "provider": self._provider}
        if self._provider != CPU:
            self._notes["beside it"] = "the CPU runs nodes that the provider lacks"

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the outputs; those of fixed shape are in the same memory each time.

        Raises:
            ValueError: if an input is missing or malformed; names it.
            InferenceFailed: if ONNX Runtime fails.
        """
        feed = checked_inputs(self._inputs, inputs)
        wanted = require_outputs(self._outputs, outputs)
        try:
            return self._binding.run(feed, wanted)
        except Exception as error:  # onnxruntime's errors share no base class but this
            raise InferenceFailed(f"{self._graph.path.name}: ONNX Runtime: {error}") from error

    def close(self) -> None:
        """Free the session."""
        del self._binding, self._session

    def _bind(self) -> Binding:
        """Return where inputs and outputs are kept: on the GPU, if their sizes are known."""
        fixed = all(fixed_shape(spec) is not None for spec in (*self._inputs, *self._outputs))
        if self._provider != CPU and fixed:
            return DeviceBinding(self._session, self._inputs, self._outputs, "cuda")
        if self._argument == "cuda-graphs":
            raise EngineError(
                f"{self._graph.path}: onnxruntime:cuda-graphs wants every size to be known, and "
                "this graph leaves some open; take onnxruntime:cuda"
            )
        return HostBinding(self._session, self._outputs)

    def _said_precision(self) -> str:
        if self._argument == "tensorrt-fp16":
            return "fp16"
        said: str = self._session.get_modelmeta().custom_metadata_map.get("precision", "fp32")
        return said


def load(graph: Graph, options: EngineOptions) -> OnnxRuntimeEngine:
    """Return an engine of ONNX Runtime.

    Raises:
        EngineError: if the provider is not there, or cannot run the graph.
    """
    return OnnxRuntimeEngine(graph, options)


def _spec(item: Any, batch: int | None) -> TensorSpec:
    shape = tuple(
        batch if size == BATCH and batch is not None else size if size else "any"
        for size in item.shape
    )
    return TensorSpec(name=item.name, dtype=_TYPES.get(item.type, item.type), shape=shape)
