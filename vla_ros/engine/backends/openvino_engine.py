"""OpenVINO: Intel's engine, also on other x86-64 and Arm CPUs.

`openvino` computes in fp32, and int8 where the graph says so; `openvino:bf16` in bfloat16 where
the CPU can. `openvino:gpu` and `openvino:npu` run on what Intel calls by these names. OpenVINO by
itself would take bfloat16 on CPUs that are faster with it, without being asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import properties
from openvino.properties import hint

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.backends.local_engine import LocalEngine
from vla_ros.engine.cache_folder import cache_folder
from vla_ros.engine.engine import BATCH, Arrays, EngineOptions, Graph, TensorSpec
from vla_ros.engine.tensors import checked_inputs, require_outputs

#: OpenVINO's device, and the precision that is asked of it, by argument.
ARGUMENTS = {
    "": ("CPU", ov.Type.f32),
    "f32": ("CPU", ov.Type.f32),
    "bf16": ("CPU", ov.Type.bf16),
    "gpu": ("GPU", ov.Type.f32),
    "gpu-f16": ("GPU", ov.Type.f16),
    "npu": ("NPU", ov.Type.f16),  # it has no other floating point
}
_PRECISIONS = {ov.Type.f32: "fp32", ov.Type.bf16: "bf16", ov.Type.f16: "fp16"}
_TYPES = {
    ov.Type.boolean: "bool",
    ov.Type.f16: "float16",
    ov.Type.f32: "float32",
    ov.Type.f64: "float64",
    ov.Type.i8: "int8",
    ov.Type.i32: "int32",
    ov.Type.i64: "int64",
    ov.Type.u8: "uint8",
}


class OpenVinoEngine(LocalEngine):
    """A compiled model that reads its inputs where they are, and writes into the same memory."""

    name, version = "openvino", ov.__version__.partition("-")[0]

    def __init__(self, graph: Graph, options: EngineOptions) -> None:
        """Load and compile the graph.

        Raises:
            EngineError: if the device is not there, or cannot run the graph.
        """
        super().__init__(graph, options)
        device, precision = _target(options.argument)
        core = ov.Core()
        _require_device(core, device, precision, options.argument)
        model = _read(core, graph, options.batch)
        self._device = str(core.get_property(device, properties.device.full_name)).strip()
        self._precision = _PRECISIONS[precision]
        if precision is ov.Type.f32 and _is_quantized(model):
            self._precision = "int8"
        self._inputs = tuple(_spec(port) for port in model.inputs)
        self._outputs = tuple(_spec(port) for port in model.outputs)
        self._request = _compile(core, model, graph, options).create_infer_request()
        #: Of the outputs whose shape is known; what has an open one is made by OpenVINO.
        self._memory: dict[str, NDArray[Any]] = {}
        for spec in self._outputs:
            shape = [size for size in spec.shape if isinstance(size, int)]
            if len(shape) == len(spec.shape):
                memory = np.zeros(shape, spec.dtype)
                self._request.set_tensor(spec.name, ov.Tensor(memory, shared_memory=True))
                self._memory[spec.name] = memory

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the outputs; those of fixed shape are in the same memory each time.

        Raises:
            ValueError: if an input is missing or malformed; names it.
            InferenceFailed: if OpenVINO fails.
        """
        feed = checked_inputs(self._inputs, inputs)
        wanted = require_outputs(self._outputs, outputs)
        try:
            for name, value in feed.items():
                # OpenVINO takes only writable memory as its own, and writes into no input
                shared = bool(value.flags.writeable)
                self._request.set_tensor(name, ov.Tensor(value, shared_memory=shared))
            self._request.infer()
        except RuntimeError as error:
            raise InferenceFailed(f"{self._graph.path.name}: OpenVINO: {error}") from error
        return {
            name: self._memory[name]
            if name in self._memory
            else self._request.get_tensor(name).data
            for name in wanted
        }

    def close(self) -> None:
        """Free the model."""
        del self._request


def load(graph: Graph, options: EngineOptions) -> OpenVinoEngine:
    """Return an engine of OpenVINO.

    Raises:
        EngineError: if the device is not there, or cannot run the graph.
    """
    return OpenVinoEngine(graph, options)


def _target(argument: str) -> tuple[str, ov.Type]:
    if argument not in ARGUMENTS:
        raise EngineError(
            f"openvino:{argument}: no such device or precision; choose one of openvino, "
            + ", ".join(f"openvino:{name}" for name in ARGUMENTS if name)
        )
    return ARGUMENTS[argument]


def _require_device(core: ov.Core, device: str, precision: ov.Type, argument: str) -> None:
    there = {name.partition(".")[0] for name in core.available_devices}
    if device not in there:
        raise EngineError(
            f"openvino:{argument}: OpenVINO {ov.__version__} finds no {device} here, only "
            f"{', '.join(sorted(there))}; install the device's driver, or leave the argument out"
        )
    able = core.get_property(device, properties.device.capabilities)
    if precision is ov.Type.bf16 and "BF16" not in able:
        raise EngineError(
            f"openvino:{argument}: this CPU has no bfloat16, only {', '.join(able)}; "
            "leave the argument out"
        )


def _read(core: ov.Core, graph: Graph, batch: int | None) -> ov.Model:
    """Return the model for so many robots: OpenVINO forgets what open dimensions were called.

    The first one is the batch, see `BATCH`.
    """
    if not graph.path.is_file():
        raise EngineError(f"{graph.path}: is missing")
    try:
        model = core.read_model(str(graph.path))
        if batch is not None:
            model.reshape({port: _with_batch(port, batch) for port in model.inputs})
    except RuntimeError as error:
        raise EngineError(f"{graph.path}: OpenVINO cannot load it: {error}") from error
    return model


def _with_batch(port: ov.Output, batch: int) -> ov.PartialShape:
    shape = port.partial_shape
    if len(shape) and shape[0].is_dynamic:
        shape[0] = ov.Dimension(batch)
    return shape


def _compile(
    core: ov.Core, model: ov.Model, graph: Graph, options: EngineOptions
) -> ov.CompiledModel:
    device, precision = _target(options.argument)
    settings: dict[Any, Any] = {
        hint.performance_mode: hint.PerformanceMode.LATENCY,
        hint.inference_precision: precision,
    }
    if device == "CPU":
        settings |= {
            properties.inference_num_threads: options.threads,
            properties.num_streams: 1,
            # its threads would sit on the first cores, whoever else is there
            hint.enable_cpu_pinning: False,
        }
    if device != "CPU" or options.cache is not None:  # a CPU needs less than a second
        settings[properties.cache_dir] = str(cache_folder(options, "openvino"))
    options.progress(f"{graph.path.name}: compiling for {device}")
    try:
        return core.compile_model(model, device, settings)
    except RuntimeError as error:
        raise EngineError(
            f"{graph.path}: OpenVINO cannot compile it for {device}: {error}"
        ) from error


def _is_quantized(model: ov.Model) -> bool:
    return any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def _spec(port: ov.Output) -> TensorSpec:
    shape = tuple(
        (BATCH if index == 0 else "any") if size.is_dynamic else size.get_length()
        for index, size in enumerate(port.partial_shape)
    )
    dtype = _TYPES.get(port.element_type, port.element_type.get_type_name())
    return TensorSpec(name=port.any_name, dtype=dtype, shape=shape)
