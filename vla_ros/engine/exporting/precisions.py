"""Which precisions a target can compute in, and how close to torch each has to stay."""

from __future__ import annotations

from dataclasses import dataclass

from vla_ros.core.errors import EngineError

TARGETS = ("onnx", "tensorrt", "tensorrt-rtx")
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
#: What scales are calibrated for.
CALIBRATED = ("int8", "fp8")
_ABLE = {"onnx": ("fp32", "fp16", "int8"), "tensorrt": PRECISIONS, "tensorrt-rtx": PRECISIONS}
_WHY = {
    ("onnx", "bf16"): (
        "ONNX Runtime has no bfloat16 kernels for the CPU; OpenVINO computes the fp32 bundle in "
        "bfloat16 as it is: --backend openvino:bf16"
    ),
    ("onnx", "fp8"): (
        "ONNX Runtime has no fp8 kernels for convolutions; fp8 is for NVIDIA GPUs from SM89 on: "
        "--target tensorrt-rtx"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an output may be from torch's, over all recorded observations.

    Attributes:
        largest: Largest difference, as a share of the output's largest value if that is above 1;
            None where single values may jump.
        mean: Mean difference, as such a share.
        cosine: Of all values as one vector, at least.
        why: These numbers.
    """

    largest: float | None
    mean: float
    cosine: float
    why: str


_JUMPS = (
    "an output behind an arg max jumps where two values are nearly equal, so no single value is "
    "held to a bound but their mean and direction; success in simulation is the other check"
)
TOLERANCES = {
    "fp32": Tolerance(
        largest=1e-4,
        mean=1e-4,
        cosine=0.99999,
        why="the same arithmetic in another order; nothing may jump",
    ),
    "fp16": Tolerance(largest=None, mean=3e-3, cosine=0.99, why=f"11 bits of mantissa; {_JUMPS}"),
    "bf16": Tolerance(largest=None, mean=1e-2, cosine=0.99, why=f"8 bits of mantissa; {_JUMPS}"),
    "int8": Tolerance(largest=None, mean=1e-2, cosine=0.99, why=f"256 steps a tensor; {_JUMPS}"),
    "fp8": Tolerance(largest=None, mean=2e-2, cosine=0.98, why=f"4 bits of mantissa; {_JUMPS}"),
}


def require_possible(target: str, precision: str) -> None:
    """Refuse what does not exist, or what a target cannot do.

    Raises:
        EngineError: says what it can do.
    """
    if target not in TARGETS:
        raise EngineError(f"--target {target!r} does not exist; choose {_either(TARGETS)}")
    if precision not in PRECISIONS:
        raise EngineError(
            f"--precision {precision!r} does not exist; --target {target} computes in "
            f"{_either(_ABLE[target])}"
        )
    if precision not in _ABLE[target]:
        raise EngineError(
            f"--target {target} does not compute in {precision}, only in "
            f"{_either(_ABLE[target])}: {_WHY[target, precision]}"
        )


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
