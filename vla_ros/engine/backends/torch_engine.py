"""PyTorch, the reference: what was trained computes, and no graph.

`torch` runs eagerly on the CPU, `torch:compile` compiled by TorchInductor; `torch:cuda`,
`torch:cuda-compile` and `torch:cuda-graphs` on an NVIDIA GPU. It rebuilds the module from the
weights of a bundle, so it runs a bundle's own graphs and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.backends.local_engine import LocalEngine
from vla_ros.engine.backends.torch_cuda import CudaRunner
from vla_ros.engine.backends.torch_module import rebuild
from vla_ros.engine.engine import BATCH, Arrays, EngineOptions, Graph, TensorSpec
from vla_ros.engine.tensors import checked_inputs, require_outputs

#: Device, and whether to compile and to capture CUDA graphs, by argument.
ARGUMENTS = {
    "": ("cpu", False, False),
    "compile": ("cpu", True, False),
    "cuda": ("cuda", False, False),
    "cuda-compile": ("cuda", True, False),
    "cuda-graphs": ("cuda", False, True),
}

#: Takes a module's arguments and returns what it computes, good until the next call.
Runner = Callable[[Sequence[NDArray[Any]]], Sequence[NDArray[Any]]]


class TorchEngine(LocalEngine):
    """A module of a bundle, on the CPU or a GPU."""

    name, version = "torch", torch.__version__

    def __init__(self, graph: Graph, options: EngineOptions) -> None:
        """Rebuild the module and run it once.

        Raises:
            EngineError: if the graph belongs to no bundle, the device is not there, or the module
                cannot be compiled.
        """
        super().__init__(graph, options)
        device, compiled, captured = _mode(options.argument)
        made = rebuild(graph)
        self._threads = options.threads
        if device == "cuda":
            self._device = torch.cuda.get_device_name()
        module = made.module
        if compiled:
            options.progress(f"{graph.path.name}: torch compiles it")
            module = torch.compile(module)  # type: ignore[assignment]
        self._runner: Runner = (
            CudaRunner(module, captured=captured) if device == "cuda" else _on_cpu(module)
        )
        example = [value.numpy() for value in made.example]
        self._inputs = _specs(made.inputs, example, options.batch)
        try:
            found = self._run(example)
        except RuntimeError as error:  # the base class of what torch and its compilers raise
            raise EngineError(f"{graph.path}: {self._backend}: cannot run it: {error}") from error
        self._outputs = _specs(made.outputs, found, options.batch)

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the outputs.

        Raises:
            ValueError: if an input is missing or malformed; names it.
            InferenceFailed: if torch fails.
        """
        feed = checked_inputs(self._inputs, inputs)
        wanted = require_outputs(self._outputs, outputs)
        try:
            found = self._run([feed[spec.name] for spec in self._inputs])
        except RuntimeError as error:
            raise InferenceFailed(f"{self._graph.path.name}: torch: {error}") from error
        names = (spec.name for spec in self._outputs)
        return {name: value for name, value in zip(names, found, strict=True) if name in wanted}

    def close(self) -> None:
        """Free the module, and what it holds on a GPU."""
        del self._runner

    def _run(self, feed: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        if torch.get_num_threads() != self._threads:  # one number for the process: others set it
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            return self._runner(feed)


def load(graph: Graph, options: EngineOptions) -> TorchEngine:
    """Return an engine of torch.

    Raises:
        EngineError: if the graph belongs to no bundle, the device is not there, or the module
            cannot be compiled.
    """
    return TorchEngine(graph, options)


def _mode(argument: str) -> tuple[str, bool, bool]:
    if argument not in ARGUMENTS:
        raise EngineError(
            f"torch:{argument}: no such way to run; choose one of torch, "
            + ", ".join(f"torch:{name}" for name in ARGUMENTS if name)
        )
    if ARGUMENTS[argument][0] == "cuda" and not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise EngineError(
            f"torch:{argument}: the installed torch {torch.__version__} finds no NVIDIA GPU (it "
            f"was built {built}); install a driver and a CUDA build, or take `torch`"
        )
    return ARGUMENTS[argument]


def _on_cpu(module: nn.Module) -> Runner:
    def run(feed: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        found = module(*(_tensor(value) for value in feed))
        return [value.numpy() for value in found]

    return run


def _tensor(value: NDArray[Any]) -> Tensor:
    """Return a tensor over an array's memory; of read-only memory, which torch has not, a copy."""
    return torch.from_numpy(value if value.flags.writeable else value.copy())


def _specs(
    names: Sequence[str], values: Sequence[NDArray[Any]], batch: int | None
) -> tuple[TensorSpec, ...]:
    first = BATCH if batch is None else batch
    return tuple(
        TensorSpec(name=name, dtype=np.dtype(value.dtype).name, shape=(first, *value.shape[1:]))
        for name, value in zip(names, values, strict=True)
    )
