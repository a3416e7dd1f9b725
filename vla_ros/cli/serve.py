"""`vla_ros serve`: answer for many robots what their policies' graphs are asked."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer
from rich.console import Console

from vla_ros.core.errors import UserError
from vla_ros.serving.server import Server, update_running
from vla_ros.serving.settings import PORT, GatewaySettings, ModelSettings

UPDATE = "update"


def serve(
    context: typer.Context,
    what: Annotated[
        list[str], typer.Argument(metavar="[update] BUNDLE", help="Bundle directory to serve.")
    ],
    host: Annotated[
        str, typer.Option(help="Address that robots connect to; 0.0.0.0 for all networks.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port for it.")] = PORT,
    backend: Annotated[
        str, typer.Option(help="Engine that runs the graphs: onnxruntime, openvino, tensorrt …")
    ] = "onnxruntime",
    threads: Annotated[
        int, typer.Option(help="CPU threads of an inference; 0: all, shared by the replicas.")
    ] = 0,
    replicas: Annotated[int, typer.Option(help="Processes that infer.")] = 1,
    autoscale_max: Annotated[
        int, typer.Option(help="With more load, up to so many replicas; 0 for no more.")
    ] = 0,
    max_batch: Annotated[
        int, typer.Option(help="Most robots in one inference; 1 takes each by itself.")
    ] = 16,
    batch_wait_ms: Annotated[
        float,
        typer.Option(help="How long a question may wait for others while a replica is idle."),
    ] = 0.0,
    replica_gpus: Annotated[
        float, typer.Option(help="GPUs of a replica, or a share of one.")
    ] = 0.0,
) -> None:
    """Serve a bundle to robots, on this machine, until Ctrl-C.

    vla_ros serve models/tabletop-small

    Robots run with backend:=remote:ws://HOST:PORT and the same bundle. While that serves, from
    another terminal, this serves another bundle, and the one before it for robots that have it:

    vla_ros serve update models/other
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if what[0] == UPDATE and len(what) == 2:
        _require_no_options(context)
        models = update_running(what[1], lambda text: console.print(f"{text} …"))
        console.print(f"serving {models.bundle}; robots of {models.previous} are served, too")
        return
    if len(what) != 1:
        raise UserError(f"expected BUNDLE, or update BUNDLE, got {' '.join(what)}")
    server = Server(
        ModelSettings(
            bundle=what[0],
            backend=backend,
            threads=threads,
            replicas=replicas,
            autoscale_max=autoscale_max,
            replica_gpus=replica_gpus,
        ),
        GatewaySettings(host=host, port=port, max_batch=max_batch, batch_wait_ms=batch_wait_ms),
        lambda text: console.print(f"{text} …"),
    )
    stop = threading.Event()
    with server:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        console.print(f"robots run with backend:={server.address}   (Ctrl-C stops)")
        while not stop.wait(0.5):
            pass


def _require_no_options(context: typer.Context) -> None:
    """Refuse options beside `update`, which changes the bundle alone."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [
        f"--{name.replace('_', '-')}"
        for name, source in sources.items()
        if name != "what" and source is not None and source.name == "COMMANDLINE"
    ]
    if given:
        raise UserError(
            f"serve update takes no {', '.join(given)}: the server goes on as it was started, "
            "with another bundle; for other settings start it anew"
        )
