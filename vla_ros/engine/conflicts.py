"""Finds packages that must not be installed together, without importing any of them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from vla_ros.core.errors import EngineError

#: Packages that are all the module `onnxruntime`.
BUILDS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-migraphx",
    "onnxruntime-qnn",
    "onnxruntime-training",
)


def describe_conflict() -> str:
    """Return what is wrong with the installed ONNX Runtime, and the fix; "" if nothing is."""
    installed = {name: found for name in BUILDS if (found := _version(name))}
    if len(installed) < 2:
        return ""
    named = " and ".join(f"{name} {found}" for name, found in installed.items())
    return (
        f"{named} are both installed, and both are the module `onnxruntime`: which one runs, and "
        f"whether it is whole, depends on what was installed last. Keep one: `pip uninstall "
        f"{' '.join(installed)}`, then `pip install onnxruntime` for the CPU, or `pip install "
        "onnxruntime-gpu` for an NVIDIA GPU (pins: requirements/run.txt, requirements/gpu.txt)"
    )


def require_one_onnxruntime() -> None:
    """Refuse to run on an ONNX Runtime that may be half of one build and half of another.

    Raises:
        EngineError: with the fix.
    """
    conflict = describe_conflict()
    if conflict:
        raise EngineError(f"onnxruntime: {conflict}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
