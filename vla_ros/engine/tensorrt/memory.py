"""Memory for the tensors of an engine: on the host, pinned, and on the GPU."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.engine.tensorrt.gpu import call


class TensorMemory:
    """One tensor's memory on both sides, as long as its largest shape.

    Of a tensor whose first dimension is the open batch, only the robots of an inference are
    copied; of every other one all is, whatever its first dimension means.

    Pinned memory is copied by the GPU itself, while the host goes on; from other memory CUDA
    first copies into some of its own.
    """

    def __init__(self, cuda: Any, shape: tuple[int, ...], dtype: str, *, by_robot: bool) -> None:
        """Take the memory.

        Args:
            cuda: The module of CUDA's runtime functions.
            shape: Largest shape.
            dtype: numpy's name of the type.
            by_robot: Whether the first dimension is a number of robots that may be smaller.

        Raises:
            CudaFailed: if there is not so much memory.
        """
        self._cuda = cuda
        self._bytes = math.prod(shape) * np.dtype(dtype).itemsize
        #: Bytes of one robot; None of a tensor that is always copied as a whole.
        self._row_bytes = self._bytes // shape[0] if by_robot else None
        size = max(1, self._bytes)
        #: Address on the GPU.
        self.device: int = call(cuda, cuda.cudaMalloc(size), "cudaMalloc")
        try:
            self._address: int = call(cuda, cuda.cudaMallocHost(size), "cudaMallocHost")
        except BaseException:
            cuda.cudaFree(self.device)
            raise
        flat = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self._address))
        self._host: NDArray[Any] = flat[: self._bytes].view(dtype).reshape(shape)

    def host(self, rows: int) -> NDArray[Any]:
        """Return the pinned memory of the first `rows` robots, as an array."""
        return self._host if self._row_bytes is None else self._host[:rows]

    def upload(self, rows: int, stream: Any) -> None:
        """Copy what the host has to the GPU, on a stream."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self.device, self._address, rows, kind, stream)

    def download(self, rows: int, stream: Any) -> None:
        """Copy what the GPU has to the host, on a stream."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(self._address, self.device, rows, kind, stream)

    def free(self) -> None:
        """Free both; the arrays of `host` must not be touched any more."""
        self._cuda.cudaFree(self.device)
        self._cuda.cudaFreeHost(self._address)

    def _copy(self, target: int, source: int, rows: int, kind: Any, stream: Any) -> None:
        size = self._bytes if self._row_bytes is None else rows * self._row_bytes
        copied = self._cuda.cudaMemcpyAsync(target, source, size, kind, stream)
        call(self._cuda, copied, "cudaMemcpyAsync")
