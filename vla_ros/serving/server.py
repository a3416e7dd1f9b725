"""Runs the applications on this machine, in a Ray of its own."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from vla_ros.core.errors import UserError
from vla_ros.policy.bundle import Bundle
from vla_ros.serving.settings import (
    GATEWAY_APPLICATION,
    GatewaySettings,
    ModelSettings,
    read_settings,
)

Progress = Callable[[str], None]

#: What Ray is started with: it tells nobody that it is used, and does not fill the screen.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # What the controller looks after changes seldom; every 0.1 s took a fifth of a core.
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.4",
    # A batch goes straight to its replica: the way through the object store took longer.
    "RAY_max_direct_call_object_size": str(16 * 2**20),
}


class Server:
    """Gateway and replicas on this machine; use it in a `with`, which stops them and their Ray.

    Attributes:
        models: What is served, and on how many replicas.
        gateway: How robots connect.
    """

    def __init__(
        self,
        models: ModelSettings,
        gateway: GatewaySettings | None = None,
        progress: Progress = lambda text: None,
    ) -> None:
        """Check what can be checked without Ray.

        Raises:
            BundleError: if the bundle is incomplete or corrupted.
            UserError: if Ray is not installed.
        """
        self.models = _absolute(models)
        self.gateway = gateway or GatewaySettings()
        self._progress = progress
        self._ray, self._serve = import_ray()

    @property
    def address(self) -> str:
        """What robots are given as their backend."""
        return f"remote:ws://{self.gateway.host}:{self.gateway.port}"

    def __enter__(self) -> Self:
        _require_port(self.gateway)
        self._progress("starting Ray")
        self._ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
        try:
            self._serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
            self.serve_models(self.models)
            self.open_gateway(self.gateway)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._progress("stopping")
        try:
            self._serve.shutdown()
        finally:
            self._ray.shutdown()

    def serve_models(self, models: ModelSettings) -> None:
        """Infer by these settings from now on; what is under way is finished by the old replicas.

        Raises:
            BundleError: if the bundle is incomplete or corrupted.
            UserError: if it does not start; says why.
        """
        wanted = _absolute(models)
        self._progress(f"loading {wanted.bundle} with {wanted.backend}")
        _run_models(self._serve, wanted)
        self.models = wanted

    def open_gateway(self, gateway: GatewaySettings, name: str = GATEWAY_APPLICATION) -> None:
        """Let robots connect by these settings from now on.

        Args:
            gateway: The settings.
            name: Of the gateway; one with another name is opened beside the first.

        Raises:
            UserError: if it does not start; says why.
        """
        from vla_ros.serving.application import app  # needs Ray

        if name == GATEWAY_APPLICATION:
            self.gateway = gateway
        self._progress(f"listening on {gateway.host}:{gateway.port}")
        _run(self._serve, app(asdict(gateway)), name)

    def update(self, bundle: str) -> None:
        """Serve another bundle, and the present one beside it until the next update."""
        self.serve_models(_updated(self.models, bundle))

    def served(self, name: str = GATEWAY_APPLICATION) -> dict[str, int]:
        """Return what a gateway has served so far."""
        from vla_ros.serving.application import GATEWAY  # needs Ray

        handle = self._serve.get_deployment_handle(GATEWAY, name)
        found: dict[str, int] = handle.served.remote().result(timeout_s=60.0)
        return found

    def replica_pid(self) -> int:
        """Return the process of one of the replicas."""
        from vla_ros.serving.application import MODELS, REPLICAS  # needs Ray

        handle = self._serve.get_deployment_handle(REPLICAS, MODELS)
        return int(handle.pid.remote().result(timeout_s=60.0))


def update_running(bundle: str, progress: Progress) -> ModelSettings:
    """Make the server that runs on this machine serve another bundle; return its settings.

    Raises:
        BundleError: if the bundle is incomplete or corrupted.
        UserError: if no server runs, or the bundle cannot be served; the old one is served on.
    """
    ray, serve = import_ray()
    from vla_ros.serving.application import MODELS, REPLICAS  # needs Ray

    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise UserError("no server runs here; `vla_ros serve BUNDLE` starts one") from error
    try:
        if MODELS not in serve.status().applications:
            raise UserError("Ray runs here, but no server; `vla_ros serve BUNDLE` starts one")
        handle = serve.get_deployment_handle(REPLICAS, MODELS)
        try:
            before = read_settings(ModelSettings, handle.settings.remote().result(timeout_s=10.0))
        except TimeoutError as error:
            raise UserError("the server has no replica that answers; is it starting?") from error
        after = _absolute(_updated(before, bundle))
        progress(f"loading {after.bundle} beside {before.bundle}")
        _run_models(serve, after)
        return after
    finally:
        ray.shutdown()


def _updated(models: ModelSettings, bundle: str) -> ModelSettings:
    return replace(models, bundle=bundle, previous=models.bundle)


def import_ray() -> tuple[Any, Any]:
    """Return `ray` and `ray.serve`, set up to keep to themselves.

    Raises:
        UserError: if they are not installed.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    ray, serve = _import("ray"), _import("ray.serve")
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    return ray, serve


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"serving needs Ray Serve, which cannot be imported ({error}); install it with "
            "`python3 tools/setup_env.py serve`, or `pip install -r requirements/serve.txt`"
        ) from error


def _absolute(models: ModelSettings) -> ModelSettings:
    """Return the settings with paths that hold in every process, and check the bundle."""
    bundle = Path(models.bundle).expanduser().resolve()
    if bundle.suffix != ".onnx":
        Bundle.open(bundle)
    elif not bundle.is_file():
        raise UserError(f"{bundle}: is missing")
    return replace(models, bundle=str(bundle))


def _run_models(serve: Any, settings: ModelSettings) -> None:
    from vla_ros.serving.application import MODELS, models  # needs Ray

    _run(serve, models(asdict(settings)), MODELS)


def _run(serve: Any, application: Any, name: str) -> None:
    try:
        serve.run(application, name=name, route_prefix=None)
    except RuntimeError as error:  # Serve says no more than that; the cause is in the status
        status = serve.status().applications.get(name)
        causes = [each.message for each in status.deployments.values()] if status else []
        raise UserError(f"{name} does not start: {' '.join(causes) or error}") from error


def _require_port(gateway: GatewaySettings) -> None:
    """Refuse a port that is taken: the gateways of one server share theirs, two servers must not.

    Raises:
        UserError: if it is.
    """
    try:
        with socket.create_server((gateway.host, gateway.port)):
            return
    except OSError as error:
        raise UserError(
            f"{gateway.host}:{gateway.port}: {error.strerror or error}; choose another with "
            "--host or --port"
        ) from error
