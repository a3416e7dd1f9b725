"""Runs an engine on the GPU of this machine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.cache_folder import cache_folder
from vla_ros.engine.engine import (
    BATCH,
    LARGEST_BATCH,
    Arrays,
    EngineDescription,
    EngineOptions,
    Graph,
)
from vla_ros.engine.tensorrt.arguments import Request
from vla_ros.engine.tensorrt.building import build_engine
from vla_ros.engine.tensorrt.cache import EngineCache, bundled, key_of
from vla_ros.engine.tensorrt.gpu import CudaFailed, find_gpu, load_cuda
from vla_ros.engine.tensorrt.launch import Launcher
from vla_ros.engine.tensorrt.library import load_library
from vla_ros.engine.tensorrt.memory import TensorMemory
from vla_ros.engine.tensorrt.target import find_device
from vla_ros.engine.tensors import checked_inputs, example_inputs, require_outputs

_log = logging.getLogger(__name__)


class TensorRTEngine:
    """An engine, its memory and its stream.

    An input is copied once, into pinned memory; only outputs that are wanted come back, and what
    is returned is that pinned memory itself.
    """

    def __init__(self, graph: Graph, options: EngineOptions, library: str) -> None:
        """Take the engine from the cache, or build it, and load it.

        Raises:
            EngineError: if the library, the GPU or its driver is missing, or the engine can
                neither be loaded nor built; says why.
        """
        self._graph = graph
        request = Request.parse(library, options.argument)
        self._backend = f"{library}:{options.argument}" if options.argument else library
        self._library = load_library(library)
        self._gpu = find_gpu()
        self._cache = EngineCache(cache_folder(options, library), bundled(graph, library))
        fewest, most = (1, LARGEST_BATCH) if options.batch is None else (options.batch,) * 2
        key = key_of(
            graph,
            library=library,
            version=self._library.version,
            device=find_device(self._library, None),
            precision=request.precision,
            fewest=fewest,
            most=most,
        )
        build = (
            None if request.prebuilt else partial(_build, graph, request, options, fewest, most)
        )
        self._path, self._metadata = self._cache.obtain(key, build, options.progress)
        self._most = most
        self._rows = 0
        self._held = ExitStack()
        self._memory: dict[str, TensorMemory] = {}
        self._launcher: Launcher
        #: Of the library: what was loaded, and what runs it; None once it is closed.
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._runtime_config: Any = None
        try:
            self._open()
        except (CudaFailed, OSError) as error:
            self.close()
            raise EngineError(
                f"{self._path}: {self._library.title} {self._library.version} cannot load it on "
                f"{self._gpu.name}: {error}"
            ) from error

    def describe(self) -> EngineDescription:
        """Return what runs here."""
        known, gpu = self._metadata, self._gpu
        return EngineDescription(
            backend=self._backend,
            version=self._library.version,
            device=f"{gpu.name} ({gpu.capability})",
            precision=known.key.precision,
            graph=self._graph.path.name,
            sha256=self._graph.sha256,
            inputs=known.inputs,
            outputs=known.outputs,
            notes={
                "engine": self._path.name,
                "cuda": gpu.cuda,
                "cuda_graphs": self._launcher.reason or "used",
            },
        )

    def warm_up(self) -> None:
        """Infer from zeros: kernels are compiled and captured in the first inferences.

        What was compiled is kept beside the engine.
        """
        for _ in range(3):  # as it is, captured, replayed
            self.infer(example_inputs(self._metadata.inputs))
        try:
            kernels = self._library.kernels_of(self._runtime_config)
            if kernels and kernels != self._kernels:
                self._cache.write_kernels(self._path, kernels)
        except OSError as error:
            _log.warning("compiled kernels are not kept: %s", error)

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the outputs, in pinned memory that is the same each time.

        Raises:
            ValueError: if an input is missing or malformed, or there are more robots than the
                engine was built for.
            InferenceFailed: if the GPU fails.
        """
        feed = checked_inputs(self._metadata.inputs, inputs)
        wanted = require_outputs(self._metadata.outputs, outputs)
        rows = self._require_rows(feed)
        try:
            self._resize(rows)
            for name, value in feed.items():
                np.copyto(self._memory[name].host(rows), value)
            self._launcher.run(wanted, lambda: self._enqueue(tuple(feed), wanted, rows))
        except CudaFailed as error:
            raise InferenceFailed(f"{self._graph.path.name}: {self._gpu.name}: {error}") from error
        return {name: self._memory[name].host(rows) for name in wanted}

    def close(self) -> None:
        """Free what is held on the GPU, in the order in which it depends on each other."""
        self._held.close()
        self._context = self._runtime_config = self._engine = self._runtime = None

    def _open(self) -> None:
        api, log, cuda = self._library.api, self._library.log(), load_cuda()
        log.errors.clear()
        self._kernels = self._cache.read_kernels(self._path)
        self._runtime = api.Runtime(log)
        self._engine = self._runtime.deserialize_cuda_engine(self._path.read_bytes())
        if self._engine is None:
            raise CudaFailed("; ".join(log.errors) or "it does not say why")
        self._context, self._runtime_config = self._library.open_context(
            self._engine, self._kernels
        )
        self._launcher = Launcher(cuda, capture=not self._library.captures_itself)
        self._held.callback(self._launcher.close)
        for spec in (*self._metadata.inputs, *self._metadata.outputs):
            shape = tuple(n if isinstance(n, int) else self._most for n in spec.shape)
            memory = TensorMemory(cuda, shape, spec.dtype, by_robot=BATCH in spec.shape)
            self._memory[spec.name] = memory
            self._held.callback(memory.free)
            if not self._context.set_tensor_address(spec.name, memory.device):
                raise CudaFailed(f"tensor {spec.name}: {'; '.join(log.errors)}")

    def _resize(self, rows: int) -> None:
        """Tell the engine how many robots there are, if that has changed."""
        if rows == self._rows:
            return
        self._launcher.forget()
        self._rows = 0  # if a shape is refused, the others are set anew the next time
        for spec in self._metadata.inputs:
            shape = tuple(n if isinstance(n, int) else rows for n in spec.shape)
            if not self._context.set_input_shape(spec.name, shape):
                raise CudaFailed(f"input {spec.name}: the shape {shape} is refused")
        self._rows = rows

    def _enqueue(self, inputs: tuple[str, ...], outputs: tuple[str, ...], rows: int) -> None:
        stream = self._launcher.stream
        for name in inputs:
            self._memory[name].upload(rows, stream)
        if not self._context.execute_async_v3(int(stream)):
            errors = "; ".join(self._library.log().errors)
            raise CudaFailed(f"{self._library.title}: {errors or 'it does not say why'}")
        for name in outputs:
            self._memory[name].download(rows, stream)

    def _require_rows(self, feed: Arrays) -> int:
        """Return how many robots there are; where the batch is fixed, shapes were checked."""
        open_ = [spec.name for spec in self._metadata.inputs if BATCH in spec.shape]
        if not open_:
            return self._most
        found = {name: int(feed[name].shape[0]) for name in open_}
        rows = set(found.values())
        if len(rows) != 1 or not 1 <= max(rows) <= self._most:
            counts = ", ".join(f"{name} {count}" for name, count in found.items())
            raise ValueError(
                f"robots: expected the same number in every input, 1 to {self._most}; got {counts}"
            )
        return rows.pop()


def _build(
    graph: Graph, request: Request, options: EngineOptions, fewest: int, most: int, folder: Path
) -> Path:
    built = build_engine(
        graph,
        library=request.library,
        precision=request.precision,
        compute_capability=None,
        output=folder,
        fewest=fewest,
        most=most,
        timing_cache=folder / f"{request.library}.timings",
        progress=options.progress,
    )
    return built.path
