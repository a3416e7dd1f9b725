"""What is deployed with Ray Serve, on one machine or on a cluster.

Two applications: `app`, the gateway that robots stay connected to, and `models`, the replicas that
an update replaces. `vla_ros serve BUNDLE` runs them here; `serve deploy config/serve.yaml` deploys
the same to a cluster.

Robots connect to the gateway itself, past Serve's HTTP proxy: that passes every message of a
websocket on in an actor call of its own, in either direction.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

from ray import serve
from ray.exceptions import RayActorError

from vla_ros.engine.choice import EngineChoice
from vla_ros.engine.engine import EngineDescription
from vla_ros.serving.batcher import Batcher
from vla_ros.serving.gateway import Gateway
from vla_ros.serving.served_graphs import ServedGraphs, UnknownGraph
from vla_ros.serving.settings import (
    GATEWAY_APPLICATION,
    GatewaySettings,
    ModelSettings,
    read_settings,
    thread_count,
)

#: Names of the applications, and of the deployment in each.
APPLICATION, MODELS = GATEWAY_APPLICATION, "vla_ros_models"
GATEWAY, REPLICAS = "gateway", "replicas"
#: Batches on their way to each replica, so that it need not wait for the next one.
DEPTH = 2
#: A question whose replica died, or has not the graph yet, is put so often, a little later [s].
ATTEMPTS, RETRY_AFTER_S = 3, 0.02
#: How often the gateway asks how many replicas run [s].
COUNT_EVERY_S = 2.0
#: With this many batches in work per replica on average, another one is started.
BUSY = 1.2
HEALTH = {"health_check_period_s": 1.0, "health_check_timeout_s": 10.0}

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class Replica:
    """Answers batches, one at a time, in a thread of its own; health checks are never blocked."""

    def __init__(self, settings: ModelSettings) -> None:
        """Load the bundle, and the one before it."""
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "inference")
        choice = EngineChoice.parse(settings.backend, threads=thread_count(settings))
        self._graphs = ServedGraphs.of((settings.bundle, settings.previous), choice)

    async def answer(self, sha256: str, questions: Sequence[bytes]) -> list[bytes] | None:
        """Return the answers to a batch; None if the graph is not here: not yet, or no more."""
        try:
            return await self._run(lambda: self._graphs.answer(sha256, questions))
        except UnknownGraph:
            return None

    async def describe(self) -> Mapping[str, EngineDescription]:
        """Return what runs each graph, by the graph's SHA-256."""
        return self._graphs.describe()

    async def settings(self) -> dict[str, Any]:
        """Return what is served, and how."""
        return asdict(self._settings)

    async def pid(self) -> int:
        """Return the process, so that a test can kill it."""
        return os.getpid()

    async def check_health(self) -> None:
        """Pass when the inference before this has ended; Serve replaces what does not in time."""
        await self._run(lambda: None)

    def _run(self, work: Callable[[], Result]) -> Awaitable[Result]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


class Ingress:
    """Listens for robots, and sends whole batches to replicas: one actor call each."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Begin to listen."""
        self._replicas = serve.get_deployment_handle(REPLICAS, MODELS)
        self.batcher = Batcher(
            self._answer,
            max_batch=settings.max_batch,
            slots=DEPTH,
            wait_s=1e-3 * settings.batch_wait_ms,
        )
        self._gateway = Gateway(self.batcher, self._describe)
        self._opening = asyncio.ensure_future(self._gateway.open(settings.host, settings.port))
        self._counting = asyncio.ensure_future(self._count())

    async def check_health(self) -> None:
        """Fail when robots cannot connect."""
        await self._opening
        if not self._gateway.listening:
            raise RuntimeError("the gateway does not listen any more")

    async def served(self) -> dict[str, int]:
        """Return what was served so far."""
        return asdict(self.batcher.served) | {
            "robots": self._gateway.robots,
            "slots": self.batcher.slots,
        }

    async def _answer(self, sha256: str, questions: Sequence[bytes]) -> list[bytes]:
        reason = "no replica has the graph"
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(attempt * RETRY_AFTER_S)
            try:
                answers: list[bytes] | None = await self._replicas.answer.remote(
                    sha256, list(questions)
                )
            except RayActorError as error:  # it died with the batch; another can answer it
                reason = f"a replica died: {type(error).__name__}"
                _log.warning("%s; its batch goes to another", reason)
                continue
            if answers is not None:
                return answers
        raise RuntimeError(reason)

    async def _describe(self) -> Mapping[str, EngineDescription]:
        found: Mapping[str, EngineDescription] = await self._replicas.describe.remote()
        return found

    async def _count(self) -> None:
        """Keep as many batches on their way as the running replicas can take."""
        while True:
            try:
                running = await asyncio.to_thread(_running_replicas)
                self.batcher.slots = DEPTH * max(1, running)
            except Exception as error:  # noqa: BLE001 the controller may be restarting; ask again
                _log.warning("cannot count the replicas: %s", error)
            await asyncio.sleep(COUNT_EVERY_S)


def app(args: dict[str, Any]) -> serve.Application:
    """Return the application that robots connect to; `args` are `GatewaySettings`.

    Raises:
        UserError: if a setting is unknown or out of range; names it.
    """
    settings = read_settings(GatewaySettings, args)
    gateway = _deployment(
        Ingress,
        name=GATEWAY,
        max_ongoing_requests=100,
        max_replicas_per_node=1,
        ray_actor_options={"num_cpus": 0},
        **HEALTH,
    )
    return gateway.bind(settings)  # type: ignore[no-any-return]


def models(args: dict[str, Any]) -> serve.Application:
    """Return the application that infers; `args` are `ModelSettings`.

    Raises:
        UserError: if a setting is unknown or out of range; names it.
    """
    settings = read_settings(ModelSettings, args)
    scaling: dict[str, Any] = {"num_replicas": settings.replicas}
    if settings.autoscale_max > settings.replicas:
        scaling = {
            "autoscaling_config": {
                "min_replicas": settings.replicas,
                "max_replicas": settings.autoscale_max,
                "target_ongoing_requests": BUSY,
                "upscale_delay_s": 3.0,
                "downscale_delay_s": 60.0,
            }
        }
    replicas = _deployment(
        Replica,
        name=REPLICAS,
        max_ongoing_requests=DEPTH + 1,
        max_surge_percent=100,  # the new ones run before the old ones stop
        graceful_shutdown_timeout_s=10.0,
        ray_actor_options={
            "num_cpus": settings.replica_cpus,
            "num_gpus": settings.replica_gpus,
        },
        **scaling,
        **HEALTH,
    )
    return replicas.bind(settings)  # type: ignore[no-any-return]


def _deployment(actor: type, **options: Any) -> Any:
    """Return a deployment; Serve's decorator is typed for classes that are decorated."""
    deployment: Any = serve.deployment(actor)
    return deployment.options(**options)


def _running_replicas() -> int:
    deployments = serve.status().applications[MODELS].deployments
    states: Mapping[Any, int] = deployments[REPLICAS].replica_states
    return int(states.get("RUNNING", 0))
