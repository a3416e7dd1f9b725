"""Whether images can be seen in bfloat16: few CPUs compute in it, and not all of those right."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: As x86 and ARM name the instructions; without them torch imitates bfloat16, slowly.
INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
#: Of a gradient in bfloat16, relative to its largest value; rounding alone makes 0.004.
TOLERANCE = 0.03


def why_not_bfloat16(device: torch.device) -> str:
    """Return what speaks against bfloat16 on a device of this machine; "" if nothing does."""
    if device.type == "cuda":
        return "" if torch.cuda.is_bf16_supported() else "this GPU does not compute in bfloat16"
    if device.type != "cpu":
        return f"bfloat16 was never tried on {device.type}"
    capabilities = torch.cpu.get_capabilities()
    if not any(capabilities.get(name, False) for name in INSTRUCTIONS):
        return "this CPU has no instructions for bfloat16"
    error = gradient_error()
    if not error <= TOLERANCE:
        return f"gradients in bfloat16 are wrong by {error:.2g} with this CPU and this torch"
    return ""


def gradient_error() -> float:
    """Return how far off a dilated convolution's weight gradient in bfloat16 is, relatively.

    oneDNN 3.12, in torch 2.13, reads memory that nobody wrote there, on an AMD EPYC with
    AVX512_BF16 at least: the weights become NaN sooner or later, or learn from noise. The shapes
    are those of the policy's eyes.
    """
    draw = torch.Generator().manual_seed(0)
    image, weight, down = (
        torch.randn(shape, generator=draw).to(memory_format=torch.channels_last)
        for shape in ((2, 56, 32, 32), (56, 56, 3, 3), (2, 56, 32, 32))
    )

    def gradient(*, narrow: bool) -> Tensor:
        weights = weight.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            seen = functional.conv2d(image, weights, padding=2, dilation=2)
        return torch.autograd.grad(seen, weights, down.to(seen.dtype))[0]

    wide = gradient(narrow=False)
    return float((gradient(narrow=True) - wide).abs().max() / wide.abs().max())
