"""A GPU that is not there: memory of the host under CUDA's functions, ONNX Runtime as the engine.

It shows that engines are handled rightly on machines with no GPU: what is copied where and when,
which shapes are set, what is freed. It says nothing of CUDA or TensorRT themselves; for that the
same tests run on a GPU. Building is the real library's.

It is as strict as the real ones and more: what is put on a stream is done when the stream is
waited for and not before, copies must stay within what was allocated, and nothing that is not
allowed in a capture passes in one.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

NAME, CAPABILITY = "Stand-in", (8, 6)
#: CUDA 12.8, as the driver says it.
DRIVER = 12080
_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64}

Work = Callable[[], None]


@dataclass(eq=False)
class _Stream:
    """What was put on a stream; `captured` while it is recorded instead."""

    number: int
    waiting: list[Work] = field(default_factory=list)
    captured: list[Work] | None = None

    def __int__(self) -> int:
        return self.number


class StandInCuda:
    """Takes the place of the module `cuda.bindings.runtime`, whose constants it uses."""

    def __init__(self) -> None:
        """Start with nothing allocated."""
        self._real: Any = importlib.import_module("cuda.bindings.runtime")
        self._status: Any = self._real.cudaError_t
        self._memory: dict[int, Any] = {}
        self._streams: dict[int, _Stream] = {}
        self._numbers = itertools.count(0x1000, 16)  # never one again: others may be open still
        #: CUDA graphs that were launched.
        self.replayed = 0
        #: Whether captures fail, as they do where a library allocates in them.
        self.refuses_captures = False

    def __getattr__(self, name: str) -> Any:
        """Return a constant of the real module; functions must be made here."""
        value = getattr(self._real, name)
        if callable(value) and not isinstance(value, type):
            raise AttributeError(f"the stand-in has no {name}")
        return value

    @property
    def held(self) -> int:
        """Allocations and streams that were not given back."""
        return len(self._memory) + len(self._streams)

    def cudaGetErrorString(self, error: Any) -> tuple[Any, ...]:  # noqa: N802
        """Return CUDA's words for a status; the real module knows them with no GPU."""
        return tuple(self._real.cudaGetErrorString(error))

    def cudaGetLastError(self) -> tuple[Any, ...]:  # noqa: N802
        """Return success."""
        return (self._status.cudaSuccess,)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:  # noqa: N802
        """Return the version of CUDA."""
        return self._status.cudaSuccess, DRIVER

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:  # noqa: N802
        """Return one."""
        return self._status.cudaSuccess, 1

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:  # noqa: N802
        """Return name and capability."""
        major, minor = CAPABILITY
        found = SimpleNamespace(name=NAME.encode() + b"\0", major=major, minor=minor)
        return self._status.cudaSuccess, found

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:  # noqa: N802
        """Allocate, filled with what nobody expects to find."""
        block = (ctypes.c_uint8 * size)(*([0xA5] * min(size, 4096)))
        address = ctypes.addressof(block)
        self._memory[address] = block
        return self._status.cudaSuccess, address

    cudaMallocHost = cudaMalloc  # noqa: N815

    def cudaFree(self, address: int) -> tuple[Any, ...]:  # noqa: N802
        """Free what was allocated, once."""
        found = self._memory.pop(address, None)
        status = self._status
        return (status.cudaErrorInvalidValue if found is None else status.cudaSuccess,)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:  # noqa: N802
        """Open a stream."""
        stream = _Stream(number=next(self._numbers))
        self._streams[stream.number] = stream
        return self._status.cudaSuccess, stream

    def cudaStreamDestroy(self, stream: _Stream) -> tuple[Any, ...]:  # noqa: N802
        """Close a stream on which nothing waits."""
        if stream.waiting or self._streams.pop(stream.number, None) is None:
            return (self._status.cudaErrorInvalidValue,)
        return (self._status.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: _Stream) -> tuple[Any, ...]:  # noqa: N802
        """Do what waits on a stream."""
        if stream.captured is not None:
            return (self._status.cudaErrorStreamCaptureUnsupported,)
        while stream.waiting:
            stream.waiting.pop(0)()
        return (self._status.cudaSuccess,)

    def cudaMemcpyAsync(  # noqa: N802
        self, target: int, source: int, size: int, kind: Any, stream: _Stream
    ) -> tuple[Any, ...]:
        """Copy when its turn comes."""
        if not (self._covers(target, size) and self._covers(source, size)):
            return (self._status.cudaErrorInvalidValue,)

        def copy() -> None:
            ctypes.memmove(target, source, size)

        self.put(stream, copy)
        return (self._status.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: _Stream, mode: Any) -> tuple[Any, ...]:  # noqa: N802
        """Record from now on."""
        if stream.waiting or stream.captured is not None:
            return (self._status.cudaErrorIllegalState,)
        stream.captured = []
        return (self._status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: _Stream) -> tuple[Any, ...]:  # noqa: N802
        """Return what was recorded."""
        recorded, stream.captured = stream.captured, None
        if recorded is None or self.refuses_captures:
            return self._status.cudaErrorStreamCaptureInvalidated, None
        return self._status.cudaSuccess, recorded

    def cudaGraphInstantiate(self, graph: list[Work], flags: int) -> tuple[Any, ...]:  # noqa: N802
        """Make of a recording what can be launched."""
        return self._status.cudaSuccess, tuple(graph)

    def cudaGraphLaunch(self, graph: tuple[Work, ...], stream: _Stream) -> tuple[Any, ...]:  # noqa: N802
        """Put a whole recording on a stream."""
        self.replayed += 1
        stream.waiting.extend(graph)
        return (self._status.cudaSuccess,)

    def cudaGraphDestroy(self, graph: object) -> tuple[Any, ...]:  # noqa: N802
        """Forget a recording."""
        return (self._status.cudaSuccess,)

    cudaGraphExecDestroy = cudaGraphDestroy  # noqa: N815

    def put(self, stream: _Stream, work: Work) -> None:
        """Put work on a stream, or into what is recorded of it."""
        (stream.waiting if stream.captured is None else stream.captured).append(work)

    def stream(self, number: int) -> _Stream:
        """Return an open stream by its number."""
        return self._streams[number]

    def _covers(self, address: int, size: int) -> bool:
        return any(
            start <= address and address + size <= start + len(block)
            for start, block in self._memory.items()
        )


class StandInLibrary:
    """Takes the place of `tensorrt` or `tensorrt_rtx`: all is the real one's but what runs."""

    def __init__(self, cuda: StandInCuda, *, hidden: tuple[str, ...] = ()) -> None:
        """Take the GPU, and the names that this library does not have."""
        self._real: Any = importlib.import_module("tensorrt_rtx")
        self._cuda, self._hidden = cuda, hidden
        #: Graph that the next engine computes; an engine file cannot be run here.
        self.graph: Path | None = None
        #: Kernels that were handed back to it, by engine.
        self.reused: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """Return what the real library has."""
        if name in self._hidden:
            raise AttributeError(name)
        return getattr(self._real, name)

    def Runtime(self, log: Any) -> SimpleNamespace:  # noqa: N802
        """Return what loads engines."""
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: self._load(plan, log))

    def _load(self, plan: bytes, log: Any) -> SimpleNamespace | None:
        if plan[:4] != b"vtrt" or self.graph is None:
            log.errors.append("this is no engine")
            return None
        session = onnxruntime.InferenceSession(self.graph, providers=["CPUExecutionProvider"])
        return SimpleNamespace(
            create_runtime_config=self._config,
            create_execution_context=lambda config=None: StandInContext(self._cuda, session),
        )

    def _config(self) -> SimpleNamespace:
        held = SimpleNamespace(cache=None)

        def take(kernels: bytes) -> bool:
            self.reused.append(kernels)
            return True

        def make_cache() -> SimpleNamespace:
            return SimpleNamespace(deserialize=take, serialize=lambda: b"kernels")

        return SimpleNamespace(
            create_runtime_cache=make_cache,
            set_runtime_cache=lambda cache: setattr(held, "cache", cache),
            get_runtime_cache=lambda: held.cache,
        )


class StandInContext:
    """Runs an engine: reads the GPU's memory, asks ONNX Runtime, writes the GPU's memory."""

    def __init__(self, cuda: StandInCuda, session: onnxruntime.InferenceSession) -> None:
        """Take the GPU and what computes."""
        self._cuda, self._session = cuda, session
        self._inputs = {item.name: _TYPES[item.type] for item in session.get_inputs()}
        self._outputs = tuple(item.name for item in session.get_outputs())
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        """Say where a tensor is."""
        if name not in self._inputs and name not in self._outputs:
            return False
        self._addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Say how large an input is."""
        if name not in self._inputs:
            return False
        self._shapes[name] = shape
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Put an inference on a stream; False while something was not said."""
        known = set(self._shapes) == set(self._inputs)
        if not known or set(self._addresses) != {*self._inputs, *self._outputs}:
            return False
        shapes = dict(self._shapes)
        self._cuda.put(self._cuda.stream(stream_handle), lambda: self._run(shapes))
        return True

    def _run(self, shapes: dict[str, tuple[int, ...]]) -> None:
        feed = {}
        for name, dtype in self._inputs.items():
            size = int(np.prod(shapes[name])) * np.dtype(dtype).itemsize
            data = ctypes.string_at(self._addresses[name], size)
            feed[name] = np.frombuffer(data, dtype).reshape(shapes[name])
        for name, value in zip(self._outputs, self._session.run(None, feed), strict=True):
            found = np.ascontiguousarray(value)
            ctypes.memmove(self._addresses[name], found.ctypes.data, found.nbytes)
