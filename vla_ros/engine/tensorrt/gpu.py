"""The GPU of this machine, and CUDA's runtime, through NVIDIA's `cuda-bindings`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from vla_ros.core.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU.

    Attributes:
        name: As NVIDIA calls it.
        capability: Its compute capability, such as SM86.
        cuda: Version of CUDA that its driver can run, such as 12.8.
    """

    name: str
    capability: str
    cuda: str


def load_cuda() -> Any:
    """Return the module of CUDA's runtime functions; a binding without type hints.

    Raises:
        EngineError: if it is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise EngineError(
            f"cuda-bindings cannot be imported: {error}; get it by `pip install cuda-bindings`, "
            "in the version of CUDA that `nvidia-smi` shows (12.x or 13.x)"
        ) from error


def find_gpu() -> Gpu:
    """Return the first GPU of this machine.

    Raises:
        EngineError: if there is none, or no driver; says which.
    """
    cuda = load_cuda()
    _, version = cuda.cudaDriverGetVersion()  # 0 where there is no driver
    error, count = cuda.cudaGetDeviceCount()
    if error.value != 0 or not count:
        reason = "no NVIDIA driver is installed"
        if version:
            reason = error_text(cuda, error) if error.value else "the driver lists no device"
        raise EngineError(
            f"no NVIDIA GPU can be used in this machine: {reason}; check what `nvidia-smi` says, "
            "or choose the backend onnxruntime or openvino"
        )
    try:
        device = call(cuda, cuda.cudaGetDeviceProperties(0), "cudaGetDeviceProperties")
    except CudaFailed as failure:
        raise EngineError(
            f"the NVIDIA GPU of this machine cannot be used: {failure}; check what `nvidia-smi` "
            "says, or choose the backend onnxruntime or openvino"
        ) from failure
    return Gpu(
        name=device.name.decode().strip("\0 "),
        capability=f"SM{device.major}{device.minor}",
        cuda=f"{version // 1000}.{version % 1000 // 10}",
    )


def call(cuda: Any, result: tuple[Any, ...], what: str) -> Any:
    """Return what a function of CUDA gave beside its status.

    Args:
        cuda: The module of CUDA's runtime functions.
        result: What the function returned: its status, and what it gave.
        what: Name of the function, for the error.

    Raises:
        CudaFailed: if the status is not success.
    """
    error, *values = result
    if error.value != 0:
        raise CudaFailed(f"{what}: {error_text(cuda, error)}")
    return values[0] if values else None


class CudaFailed(Exception):
    """A call of CUDA failed; what that means for the user, its caller says."""


def error_text(cuda: Any, error: Any) -> str:
    """Return CUDA's own words for a status."""
    _, text = cuda.cudaGetErrorString(error)
    return f"{text.decode()} ({error.name})"
