"""Runs torch modules on an NVIDIA GPU: through pinned memory, as captured CUDA graphs or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Runs before a capture: libraries choose kernels and take memory in them.
_WARM_UPS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Buffers:
    """Memory of one batch size, the same in every inference.

    Attributes:
        staged: Arguments in pinned memory, from which the GPU copies by itself.
        arguments: Arguments on the GPU.
        results: What was computed, on the GPU; only of a captured graph.
        graph: What computes it; None when nothing is captured.
    """

    staged: tuple[Tensor, ...]
    arguments: tuple[Tensor, ...]
    results: tuple[Tensor, ...]
    graph: torch.cuda.CUDAGraph | None


class CudaRunner:
    """Copies arguments to the GPU, computes, and copies back what is wanted.

    Called in `torch.inference_mode` only. Each batch size that comes gets buffers of its own, and
    with `captured` a CUDA graph of its own: an inference is then one launch, however many kernels
    it has.
    """

    def __init__(self, module: nn.Module, *, captured: bool) -> None:
        """Move the module to the GPU."""
        # fp32 was asked for; cuDNN would take TF32 for it, whose mantissa has 10 bits
        torch.backends.cudnn.allow_tf32 = False
        self._device = torch.device("cuda", torch.cuda.current_device())
        self._module = module.to(self._device)
        self._captured = captured
        self._buffers: dict[int, _Buffers] = {}
        self._returned: dict[int, tuple[Tensor, ...]] = {}

    def __call__(self, feed: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Return what the module computes, good until the next call with this batch size."""
        with torch.cuda.device(self._device):
            batch = len(feed[0])
            buffers = self._buffers.get(batch)
            if buffers is None:
                buffers = self._buffers[batch] = self._make(feed)
            self._take(buffers, feed)
            if buffers.graph is not None:
                buffers.graph.replay()
                results = buffers.results
            else:
                results = tuple(self._module(*buffers.arguments))
            returned = self._returned.get(batch)
            if returned is None:
                returned = tuple(_pinned(value) for value in results)
                self._returned[batch] = returned
            for here, there in zip(returned, results, strict=True):
                here.copy_(there, non_blocking=True)
            torch.cuda.current_stream().synchronize()
        return [value.numpy() for value in returned]

    def _make(self, feed: Sequence[NDArray[Any]]) -> _Buffers:
        staged = tuple(
            torch.empty(value.shape, dtype=getattr(torch, value.dtype.name), pin_memory=True)
            for value in feed
        )
        arguments = tuple(value.to(self._device) for value in staged)
        plain = _Buffers(staged=staged, arguments=arguments, results=(), graph=None)
        if not self._captured:
            return plain
        self._take(plain, feed)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # a capture wants its warm-up beside the default stream
            for _ in range(_WARM_UPS):
                self._module(*arguments)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # of this thread alone: a policy may run in another one while this one is loaded
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            results = tuple(self._module(*arguments))
        return _Buffers(staged=staged, arguments=arguments, results=results, graph=graph)

    def _take(self, buffers: _Buffers, feed: Sequence[NDArray[Any]]) -> None:
        for value, staged, argument in zip(feed, buffers.staged, buffers.arguments, strict=True):
            staged.numpy()[...] = value
            argument.copy_(staged, non_blocking=True)


def _pinned(value: Tensor) -> Tensor:
    return torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
