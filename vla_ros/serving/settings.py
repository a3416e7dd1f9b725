"""How a bundle is served."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

from vla_ros.core.errors import UserError

#: Of the websocket that robots connect to.
PORT = 8765
#: Name of the application that robots connect to.
GATEWAY_APPLICATION = "vla_ros"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How robots connect, and what is put into one batch.

    Attributes:
        host: Address that robots connect to; loopback unless it is opened on purpose.
        port: TCP port for it.
        max_batch: Most robots in one inference; 1 takes each by itself.
        batch_wait_ms: How long a question may wait for others while a replica is idle. While
            none is, all that come wait, and go together; that costs nothing.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    max_batch: int = 16
    batch_wait_ms: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: naming the setting, what was expected and what came.
        """
        _require_range("port", self.port, 1, 65535)
        _require_range("max_batch", self.max_batch, 1, 1024)
        _require_range("batch_wait_ms", self.batch_wait_ms, 0, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What is served, and on how many replicas.

    Attributes:
        bundle: Directory of the bundle whose graphs are served, or one graph, a file `.onnx`.
        previous: Of the bundle before an update, which is served beside it; "" for none.
        backend: Engine that runs the graphs, `name` or `name:argument`.
        threads: CPU threads of an inference; 0 for those of the machine, shared by all replicas.
        replicas: Processes that infer.
        autoscale_max: With more load, up to so many; 0 for as many as `replicas`, always.
        replica_cpus: CPUs that Ray sets aside for a replica; it limits how many start.
        replica_gpus: GPUs, or a share of one.
    """

    bundle: str
    previous: str = ""
    backend: str = "onnxruntime"
    threads: int = 0
    replicas: int = 1
    autoscale_max: int = 0
    replica_cpus: float = 0.0
    replica_gpus: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: naming the setting, what was expected and what came.
        """
        if not self.bundle:
            raise UserError("bundle: name a bundle directory such as models/tabletop-small")
        _require_range("threads", self.threads, 0, 1024)
        _require_range("replicas", self.replicas, 1, 1024)
        _require_range("autoscale_max", self.autoscale_max, 0, 1024)
        _require_range("replica_cpus", self.replica_cpus, 0, 1024)
        _require_range("replica_gpus", self.replica_gpus, 0, 1024)
        if 0 < self.autoscale_max < self.replicas:
            raise UserError(
                f"autoscale_max: expected {self.replicas} replicas or more, or 0, "
                f"got {self.autoscale_max}"
            )


Settings = TypeVar("Settings", GatewaySettings, ModelSettings)


def thread_count(settings: ModelSettings) -> int:
    """Return how many CPU threads an inference takes on this machine."""
    most = max(settings.replicas, settings.autoscale_max)
    return settings.threads or max(1, len(os.sched_getaffinity(0)) // most)


def read_settings(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return what a configuration file says.

    Raises:
        UserError: if a key is unknown or missing, or a value of another kind; names it.
    """
    hints = get_type_hints(kind)
    known = sorted(field.name for field in fields(kind))
    for key, value in values.items():
        if key not in known:
            raise UserError(f"{key}: is no setting here; there are {', '.join(known)}")
        kinds = (int, float) if hints[key] is float else (hints[key],)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise UserError(f"{key}: expected {hints[key].__name__}, got {value!r}")
    if "bundle" in known and "bundle" not in values:
        raise UserError("bundle: is missing; name a bundle directory")
    return kind(**values)


def _require_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{name}: expected {low} to {high}, got {value}")
