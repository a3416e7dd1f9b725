"""Launches the work of one inference on a stream, as one CUDA graph where that can be."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from vla_ros.engine.tensorrt.gpu import CudaFailed, call


class Launcher:
    """A stream, and what was captured on it.

    A CUDA graph is a recording of everything that was put on a stream, copies and all; to replay
    it is one call instead of hundreds, and small networks spend most of their time in such calls.
    """

    def __init__(self, cuda: Any, *, capture: bool) -> None:
        """Open a stream.

        Args:
            cuda: The module of CUDA's runtime functions.
            capture: Whether to make CUDA graphs.

        Raises:
            CudaFailed: if CUDA does not work.
        """
        self._cuda = cuda
        self._capture = capture
        flags = cuda.cudaStreamNonBlocking
        #: The stream, as CUDA's functions take it.
        self.stream: Any = call(cuda, cuda.cudaStreamCreateWithFlags(flags), "cudaStreamCreate")
        self._graphs: dict[Hashable, Any] = {}
        self._seen: set[Hashable] = set()
        #: Why nothing is captured; empty as long as everything is.
        self.reason = "" if capture else "left to the library"

    def run(self, name: Hashable, work: Callable[[], None]) -> None:
        """Do some work and wait for its end.

        The first time it is done as it is, since libraries take memory then, which cannot be
        captured; the second time it is captured; from then on replayed.

        Args:
            name: The same for the same work.
            work: Puts it on the stream.

        Raises:
            CudaFailed: if it fails.
        """
        cuda, graph = self._cuda, self._graphs.get(name)
        if graph is None and self._capture and name in self._seen:
            graph = self._record(name, work)
        self._seen.add(name)
        if graph is None:
            work()
        else:
            call(cuda, cuda.cudaGraphLaunch(graph, self.stream), "cudaGraphLaunch")
        call(cuda, cuda.cudaStreamSynchronize(self.stream), "cudaStreamSynchronize")

    def forget(self) -> None:
        """Forget what was captured: the shapes have changed."""
        for graph in self._graphs.values():
            self._cuda.cudaGraphExecDestroy(graph)
        self._graphs.clear()
        self._seen.clear()

    def close(self) -> None:
        """Free everything."""
        self.forget()
        self._cuda.cudaStreamDestroy(self.stream)

    def _record(self, name: Hashable, work: Callable[[], None]) -> Any:
        """Return the recorded work; None if it cannot be recorded, now and later."""
        cuda = self._cuda
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        try:
            call(cuda, cuda.cudaStreamBeginCapture(self.stream, mode), "cudaStreamBeginCapture")
            try:
                work()
            finally:
                ended = cuda.cudaStreamEndCapture(self.stream)
            recorded = call(cuda, ended, "cudaStreamEndCapture")
            try:
                made = call(cuda, cuda.cudaGraphInstantiate(recorded, 0), "cudaGraphInstantiate")
            finally:
                cuda.cudaGraphDestroy(recorded)
        except CudaFailed as error:
            self._capture, self.reason = False, str(error)
            cuda.cudaGetLastError()  # it is not to be found by the next call that asks
            return None
        self._graphs[name] = made
        return made
