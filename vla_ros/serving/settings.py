"""How a bundle is served."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from vla_ros.core.errors import UserError

#: Of the websocket that robots connect to.
PORT = 8765


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSettings:
    """What `vla_ros serve` and `config/serve.yaml` may say.

    Attributes:
        bundle: Directory of the bundle whose graphs are served.
        previous: Of the bundle before an update, which is served beside it; "" for none.
        host: Address that robots connect to; loopback unless it is opened on purpose.
        port: TCP port for it.
        backend: Engine that runs the graphs, `name` or `name:argument`.
        threads: CPU threads of an inference.
        replicas: Processes that infer.
        autoscale_max: With more load, up to so many; 0 for as many as `replicas`, always.
        max_batch: Most robots in one inference; 1 takes each by itself.
        batch_wait_ms: How long a question may wait for others while a replica is idle. While
            none is, all that come wait, and go together; that costs nothing.
        depth: Batches on their way to each replica, so that it need not wait for the next one.
        replica_cpus: CPUs that Ray sets aside for a replica; it limits how many start.
        replica_gpus: GPUs, or a share of one.
    """

    bundle: str
    previous: str = ""
    host: str = "127.0.0.1"
    port: int = PORT
    backend: str = "onnxruntime"
    threads: int = 1
    replicas: int = 1
    autoscale_max: int = 0
    max_batch: int = 16
    batch_wait_ms: float = 0.0
    depth: int = 2
    replica_cpus: float = 0.0
    replica_gpus: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be served.

        Raises:
            UserError: naming the setting, what was expected and what came.
        """
        if not self.bundle:
            raise UserError("bundle: name a bundle directory such as models/tabletop-small")
        for name, low, high in (
            ("port", 1, 65535),
            ("threads", 1, 1024),
            ("replicas", 1, 1024),
            ("autoscale_max", 0, 1024),
            ("max_batch", 1, 1024),
            ("batch_wait_ms", 0, 1000),
            ("depth", 1, 64),
            ("replica_cpus", 0, 1024),
            ("replica_gpus", 0, 1024),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"{name}: expected {low} to {high}, got {value}")
        if 0 < self.autoscale_max < self.replicas:
            raise UserError(
                f"autoscale_max: expected {self.replicas} replicas or more, or 0, "
                f"got {self.autoscale_max}"
            )

    @staticmethod
    def from_dict(values: dict[str, Any]) -> ServingSettings:
        """Read what a configuration file says.

        Raises:
            UserError: if a key is unknown, or a value of another kind; names it.
        """
        hints = get_type_hints(ServingSettings)
        known = {field.name for field in fields(ServingSettings)}
        for key, value in values.items():
            if key not in known:
                raise UserError(f"{key}: is no setting of the server; {', '.join(sorted(known))}")
            kinds = (int, float) if hints[key] is float else (hints[key],)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise UserError(f"{key}: expected {hints[key].__name__}, got {value!r}")
        if "bundle" not in values:
            raise UserError("bundle: is missing; name a bundle directory")
        return ServingSettings(**values)
