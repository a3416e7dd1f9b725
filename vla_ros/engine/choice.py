"""Chooses engines by name: our own backends, and those of installed packages."""

from __future__ import annotations

import importlib
import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import cast

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.engine.engine import Engine, EngineOptions, Graph, Load
from vla_ros.engine.fallback import FallbackEngine
from vla_ros.engine.pinning import parse_cpus, pinned

#: Entry-point group under which other packages offer backends.
GROUP = "vla_ros.engines"
OWN = {
    name: f"vla_ros.engine.backends.{name}_engine:load"
    for name in ("onnxruntime", "openvino", "remote", "tensorrt", "tensorrt_rtx", "torch")
}

#: What each of ours is installed from.
REQUIREMENTS = {
    "onnxruntime": "requirements/run.txt, or requirements/gpu.txt for an NVIDIA GPU",
    "openvino": "requirements/openvino.txt",
    "remote": "requirements/run.txt",
    "tensorrt": "requirements/gpu.txt, which says where TensorRT is from",
    "tensorrt_rtx": "requirements/tensorrt-rtx.txt",
    "torch": "requirements/train.txt and requirements/torch.txt",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """Which backends are to run graphs.

    Attributes:
        backends: `name` or `name:argument`, the wanted one first. Those behind it take over where
            it cannot be loaded, and for every inference in which it fails; usually there are none.
        threads: CPU threads that one inference may use.
        cpus: CPUs that inference is kept on, numbered from 0; none: any.

    Raises:
        EngineError: if there is no backend, or no thread.
    """

    backends: tuple[str, ...] = ("onnxruntime",)
    threads: int = 1
    cpus: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would be taken for something else: ONNX Runtime reads 0 as all CPUs."""
        if not self.backends:
            raise EngineError(f"backend: expected one of {', '.join(sorted(backends()))}, got ''")
        if self.threads < 1:
            raise EngineError(f"threads: expected 1 or more, got {self.threads}")

    @staticmethod
    def parse(backend: str, fallback: str = "", threads: int = 1, cpus: str = "") -> EngineChoice:
        """Read what parameters or options say; `fallback` and `cpus` have commas between.

        Raises:
            EngineError: if there is no backend or no thread, or a CPU is not there.
        """
        names = [backend.strip(), *split_backends(fallback)]
        return EngineChoice(
            backends=tuple(name for name in names if name),
            threads=threads,
            cpus=parse_cpus(cpus),
        )


def open_engine(
    graph: Graph, choice: EngineChoice, options: EngineOptions | None = None
) -> Engine:
    """Return an engine that is loaded and warm.

    Args:
        graph: What is to run.
        choice: On which backends.
        options: What else is wanted; threads and argument come from `choice`.

    Raises:
        EngineError: if no backend of the choice can run the graph; says why of each.
    """
    opened: list[Engine] = []
    refusals: list[str] = []
    with ExitStack() as undo:  # whatever it is that one of them raises, the others are freed
        for name in choice.backends:
            backed = name != choice.backends[-1]
            wanted = replace(options or EngineOptions(progress=_log.info), backed=backed)
            try:
                engine = _open(graph, name, choice, wanted)
            except EngineError as error:
                reason = str(error)
                refusals.append(reason if reason.startswith(name) else f"{name}: {reason}")
                if len(choice.backends) > 1:
                    _log.warning("backend %s is left out: %s", name, error)
                continue
            undo.callback(engine.close)
            opened.append(engine)
        # a server that is not there yet may be waited for only where something stands in
        if not any(engine.describe().inputs for engine in opened):
            waiting = [f"{engine.describe().backend}: is not there yet" for engine in opened]
            raise EngineError("; ".join([*waiting, *refusals]))
        undo.pop_all()
    if len(choice.backends) == 1:
        return opened[0]
    return FallbackEngine(opened, left_out=refusals)


def load_backend(name: str) -> Load:
    """Return the backend called `name`; nothing of the others is imported.

    Raises:
        EngineError: if there is none, listing those that exist, or if it cannot be imported.
    """
    offered = backends()
    if name not in offered:
        raise EngineError(f"backend: expected one of {', '.join(sorted(offered))}, got '{name}'")
    module, _, attribute = offered[name].partition(":")
    try:
        return cast(Load, getattr(importlib.import_module(module), attribute))
    except ImportError as error:
        needed = REQUIREMENTS.get(name, "what its package needs")
        raise EngineError(
            f"{name}: cannot be imported: {error}; install {needed} (docs/reference/engines.md)"
        ) from error


def backends() -> dict[str, str]:
    """Return `module:function` by the name of every backend that is offered."""
    return {point.name: point.value for point in entry_points(group=GROUP)} | OWN


def split_backends(listed: str) -> list[str]:
    """Return the backends of a list; what is none belongs to the argument of the one before."""
    names: list[str] = []
    for name in (part.strip() for part in listed.split(",")):
        if names and ":" in names[-1] and name.partition(":")[0] not in backends():
            names[-1] += f",{name}"
        else:
            names.append(name)
    return names


def _open(graph: Graph, name: str, choice: EngineChoice, options: EngineOptions) -> Engine:
    backend, _, argument = name.partition(":")
    load = load_backend(backend)
    settings = replace(options, argument=argument, threads=choice.threads, cpus=choice.cpus)
    with pinned(choice.cpus):
        engine = load(graph, settings)
        try:
            engine.warm_up()
        except (InferenceFailed, ValueError) as error:
            engine.close()
            raise EngineError(f"{name}: it loads, and cannot infer: {error}") from error
    return engine
