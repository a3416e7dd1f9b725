"""Where a session of ONNX Runtime reads its inputs and writes its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vla_ros.engine.engine import TensorSpec

Feed = Mapping[str, NDArray[Any]]


class Binding(Protocol):
    """Runs a session with its inputs and outputs in memory of its own choice."""

    def run(self, feed: Feed, wanted: Sequence[str]) -> dict[str, Any]:
        """Return the wanted outputs, good until the next call."""
        ...


class HostBinding:
    """Inputs are read where they are; outputs of fixed shape go to the same memory each time."""

    def __init__(
        self, session: onnxruntime.InferenceSession, outputs: Sequence[TensorSpec]
    ) -> None:
        """Take memory for the outputs whose shape is known; ONNX Runtime makes the others."""
        self._session = session
        self._binding = session.io_binding()
        self._memory: dict[str, NDArray[Any]] = {
            spec.name: np.zeros(lengths, spec.dtype)
            for spec in outputs
            if (lengths := fixed_shape(spec)) is not None
        }

    def run(self, feed: Feed, wanted: Sequence[str]) -> dict[str, Any]:
        """Return the wanted outputs."""
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
        self._session.run_with_iobinding(binding)
        if all(name in self._memory for name in wanted):
            return {name: self._memory[name] for name in wanted}
        return dict(zip(wanted, binding.copy_outputs_to_cpu(), strict=True))


class DeviceBinding:
    """Inputs and outputs stay at the same places in a device's memory, as CUDA graphs need it.

    All outputs are computed each time; those that are wanted are copied back.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        device: str,
    ) -> None:
        """Take memory for all of them.

        Args:
            session: What runs.
            inputs: Of the session; their shapes are fixed.
            outputs: Likewise.
            device: As ONNX Runtime calls it: `cuda`; `cpu` for tests.
        """
        self._session = session
        self._binding = session.io_binding()
        self._inputs = {spec.name: _take(spec, device) for spec in inputs}
        self._outputs = {spec.name: _take(spec, device) for spec in outputs}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, feed: Feed, wanted: Sequence[str]) -> dict[str, Any]:
        """Return the wanted outputs."""
        for name, value in feed.items():
            self._inputs[name].update_inplace(value)
        self._session.run_with_iobinding(self._binding)
        return {name: self._outputs[name].numpy() for name in wanted}


def fixed_shape(spec: TensorSpec) -> list[int] | None:
    """Return the lengths of a tensor; None if one is open."""
    lengths = [size for size in spec.shape if isinstance(size, int)]
    return lengths if len(lengths) == len(spec.shape) else None


def _take(spec: TensorSpec, device: str) -> onnxruntime.OrtValue:
    shape = fixed_shape(spec)
    assert shape is not None
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(spec.dtype), device)
