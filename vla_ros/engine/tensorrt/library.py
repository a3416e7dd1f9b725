"""The two libraries: `tensorrt` and `tensorrt_rtx`, and all in which they differ."""

from __future__ import annotations

import importlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from vla_ros.core.errors import EngineError
from vla_ros.engine.tensorrt.gpu import CudaFailed

_log = logging.getLogger(__name__)

#: How a person calls them, and gets them.
TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT RTX"}
SOURCES = {
    "tensorrt": (
        "`pip install tensorrt-cu13 --extra-index-url https://pypi.nvidia.com` (data-centre GPUs; "
        "-cu12 with CUDA 12); a Jetson has it from JetPack: make the environment with "
        "--system-site-packages"
    ),
    "tensorrt_rtx": "`pip install tensorrt-rtx-cu12` (desktop GPUs: GeForce RTX and RTX PRO)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One of the two, imported.

    Attributes:
        name: Of its module, and of the backend.
        version: Engines of another one are not loaded.
        api: The module. It is a binding without type hints, hence `Any`.
    """

    name: str
    version: str
    api: Any

    @property
    def title(self) -> str:
        """What a person calls it."""
        return TITLES[self.name]

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Compute capabilities for which it builds ahead, with no GPU; none with TensorRT."""
        offered = getattr(self.api, "ComputeCapability", None)
        names = [name for name in dir(offered) if name.startswith("SM")]
        return tuple(sorted(names, key=lambda name: int(name[2:])))

    @property
    def compiles_when_loaded(self) -> bool:
        """Whether kernels are made on the GPU that runs them, and kept in a runtime cache."""
        return hasattr(self.api, "IRuntimeCache")

    @property
    def times_when_building(self) -> bool:
        """Whether building measures kernels, and keeps the times in a timing cache.

        TensorRT RTX has that interface too, but using it makes the builder ask for a GPU, and
        changes nothing (release notes of TensorRT RTX 1.1, "Limitations").
        """
        return not self.compiles_when_loaded

    def network_flags(self) -> int:
        """Return what makes a network strongly typed: it computes in the types of its graph.

        Weak typing (a flag, and the library chooses) is deprecated in TensorRT 10.12, and neither
        TensorRT RTX nor later versions have it; so the precision is always that of the graph.
        """
        strongly = getattr(self.api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if strongly is None else 1 << int(strongly)

    def log(self) -> Any:
        """Return the logger of this process, which remembers what went wrong, as `errors`.

        The library keeps the first logger that it is given and ignores every other one.
        """
        return _log_of(self.name)

    @property
    def captures_itself(self) -> bool:
        """Whether the library makes CUDA graphs of its own; else its caller captures the stream.

        What TensorRT RTX compiles at the first inferences cannot be captured from outside.
        """
        return hasattr(self.api, "CudaGraphStrategy")

    def open_context(self, engine: Any, kernels: bytes) -> tuple[Any, Any]:
        """Return what runs an engine, and its settings; those are None with TensorRT.

        Args:
            engine: The loaded engine.
            kernels: What was compiled for it before; empty for nothing.

        Raises:
            CudaFailed: if there is not enough memory on the GPU.
        """
        config = None
        if self.compiles_when_loaded:
            config = engine.create_runtime_config()
            cache = config.create_runtime_cache()
            if kernels and not cache.deserialize(kernels):
                _log.info("compiled kernels of another GPU or version are not used")
            config.set_runtime_cache(cache)
            if self.captures_itself:
                config.cuda_graph_strategy = self.api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context()
        if context is None:
            raise CudaFailed("; ".join(self.log().errors) or "no execution context")
        return context, config

    def kernels_of(self, config: Any) -> bytes:
        """Return what was compiled with these settings; empty with TensorRT."""
        if config is None:
            return b""
        serialized = config.get_runtime_cache().serialize()
        return b"" if serialized is None else bytes(serialized)

    def _make_log(self) -> Any:
        severities = self.api.ILogger.Severity
        grave = (severities.INTERNAL_ERROR, severities.ERROR)

        class Log(self.api.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.errors: deque[str] = deque(maxlen=20)

            def log(self, severity: object, text: str) -> None:
                if severity in grave:
                    self.errors.append(" ".join(text.split()))
                _log.debug("%s", text)

        return Log()

    def monitor(self, report: Callable[[str], None]) -> Any:
        """Return a progress monitor that tells of the phases of building, as they begin."""

        class Monitor(self.api.IProgressMonitor):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self._steps: dict[str, int] = {}
                self._outer: set[str] = set()

            def phase_start(self, name: str, parent: str | None, steps: int) -> None:
                self._steps[name] = steps
                if parent is None or parent in self._outer:
                    if parent is None:
                        self._outer.add(name)
                    report(name)

            def phase_finish(self, name: str) -> None:
                self._steps.pop(name, None)

            def step_complete(self, name: str, step: int) -> bool:
                if name in self._outer and self._steps.get(name, 0) > 1:
                    report(f"{name}: {step + 1} of {self._steps[name]}")
                return True  # False would stop the build

        return Monitor()


@lru_cache
def _log_of(name: str) -> Any:
    return load_library(name)._make_log()


def load_library(name: str) -> Library:
    """Import one of the two.

    Raises:
        EngineError: if there is none of that name, or it cannot be imported; says how to get it.
    """
    if name not in TITLES:
        raise EngineError(f"library: expected one of {', '.join(TITLES)}, got '{name}'")
    try:
        api = importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a library that it loads is not there
        raise EngineError(
            f"{name}: {TITLES[name]} cannot be imported: {error}; get it by {SOURCES[name]}"
        ) from error
    return Library(name=name, version=str(api.__version__), api=api)
