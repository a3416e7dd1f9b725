"""What an engine is built for: the GPU of this machine, or another one by its capability."""

from __future__ import annotations

from vla_ros.core.errors import EngineError
from vla_ros.engine.tensorrt.gpu import find_gpu
from vla_ros.engine.tensorrt.library import Library


def find_device(library: Library, compute_capability: str | None) -> str:
    """Return what engines for a GPU are called.

    TensorRT's hold kernels that were timed on one GPU, so its name is in it; those of TensorRT
    RTX are compiled where they are loaded, and are good for all GPUs of a compute capability.

    Args:
        library: Which one builds.
        compute_capability: Such as SM86; None for the GPU of this machine.

    Raises:
        EngineError: if the library cannot build for that GPU, or there is none here; says which
            it can build for.
    """
    if not library.capabilities:
        if compute_capability is not None:
            raise EngineError(
                f"compute capability {compute_capability}: {library.title} builds engines only on "
                "the GPU that runs them; build there, or use tensorrt_rtx for a desktop GPU"
            )
        gpu = find_gpu()
        return f"{gpu.capability} {gpu.name}"
    wanted = compute_capability or find_gpu().capability
    if wanted not in library.capabilities:
        raise EngineError(
            f"compute capability: {library.title} {library.version} builds for "
            f"{', '.join(library.capabilities)}, not for {wanted}; Jetson (SM87) and data-centre "
            "GPUs (SM90, SM100) want tensorrt, on the device"
        )
    return wanted
