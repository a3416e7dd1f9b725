"""Builds the engines of a bundle for other GPUs, on a machine that needs none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vla_ros.core.errors import EngineError
from vla_ros.engine.cache_folder import cache_folder
from vla_ros.engine.engine import EngineOptions, Graph
from vla_ros.engine.tensorrt.building import BuiltEngine, build_engine
from vla_ros.policy.bundle import LANGUAGE, Bundle

LIBRARY = "tensorrt_rtx"
#: GPUs of robots' desktop computers: GeForce RTX 30, 40 and 50, and the RTX PRO of their times.
CAPABILITIES = ("SM86", "SM89", "SM120")


def build_ahead(
    bundle: Path,
    *,
    capabilities: Sequence[str] = CAPABILITIES,
    precision: str = "fp32",
    output: Path,
    most: int = 1,
    progress: Callable[[str], None] = lambda text: None,
) -> list[BuiltEngine]:
    """Build every graph of a bundle for every compute capability, with TensorRT RTX.

    `output` is laid out as the folder of the engine cache. The language encoder is left out: it
    runs once for an instruction, on the CPU.

    Args:
        bundle: The bundle's directory.
        capabilities: Such as SM86, SM89, SM120.
        precision: fp32, fp16, bf16, int8 or fp8.
        output: Folder; the engines are in `tensorrt_rtx` there.
        most: Robots that one inference may serve.
        progress: Is told what is being done.

    Raises:
        BundleError: if the bundle is not whole.
        EngineError: if one cannot be built; says which, and why.
    """
    opened = Bundle.open(bundle)
    names = sorted(name for name in opened.files if name.endswith(".onnx") and name != LANGUAGE)
    if not names:
        raise EngineError(f"{bundle}: has no graph; `vla_ros export` makes a bundle that runs")
    folder = cache_folder(EngineOptions(cache=output), LIBRARY)
    return [
        build_engine(
            Graph(path=opened.file(name), bundle=opened.directory),
            library=LIBRARY,
            precision=precision,
            compute_capability=capability,
            output=folder,
            most=most,
            progress=progress,
        )
        for name in names
        for capability in capabilities
    ]
