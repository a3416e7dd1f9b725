"""Builds the engines of a bundle for other GPUs, on a machine that needs none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import Graph
from vla_ros.engine.tensorrt.building import BuiltEngine, build_engine
from vla_ros.policy.bundle import LANGUAGE, Bundle

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

    `output` can be used as the folder of the engine cache then. The language encoder is left out:
    it runs once for an instruction, on the CPU.

    Args:
        bundle: The bundle's directory.
        capabilities: Such as SM86, SM89, SM120.
        precision: fp32, fp16, bf16, int8 or fp8.
        output: Folder for the engines.
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
    return [
        build_engine(
            Graph(path=opened.file(name), bundle=opened.directory),
            library="tensorrt_rtx",
            precision=precision,
            compute_capability=capability,
            output=output,
            most=most,
            progress=progress,
        )
        for name in names
        for capability in capabilities
    ]
