"""`vla_ros up`: the whole graph in one terminal."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from vla_ros.bringup.graph import describe
from vla_ros.bringup.log import GraphLog
from vla_ros.bringup.options import Options
from vla_ros.bringup.supervisor import Supervisor
from vla_ros.core.processes import follow_parent
from vla_ros.teleop.keyboard import own_terminal


class Kind(StrEnum):
    """Which graph."""

    SIM = "sim"
    ROBOT = "robot"
    COLLECT = "collect"


def up(
    kind: Annotated[
        Kind,
        typer.Argument(help="sim: with the simulator; robot: for hardware; collect: to record."),
    ],
    policy: Annotated[
        str, typer.Option(help="Policy bundle directory; models/tabletop-small if not given.")
    ] = "",
    robot: Annotated[
        str, typer.Option("--robot", "--contract", help="Robot contract: a name or a YAML file.")
    ] = "",
    backend: Annotated[
        str, typer.Option(help="Engine that runs the bundle; name:argument for a device.")
    ] = "onnxruntime",
    fallback: Annotated[
        str, typer.Option(help="Engines that take over where it fails, with commas between.")
    ] = "",
    threads: Annotated[int, typer.Option(help="Threads of one inference.")] = 1,
    cpus: Annotated[
        str, typer.Option(help="CPUs that inference is kept on, numbered from 0: 2,3.")
    ] = "",
    teleop: Annotated[
        str,
        typer.Option(help="keyboard, gamepad, spacemouse, leader, network, a YAML file, or none."),
    ] = "",
    terminal: Annotated[
        str, typer.Option(help="Terminal of the keyboard that moves the robot.")
    ] = "",
    recordings: Annotated[str, typer.Option(help="Folder to record episodes into.")] = "",
    operator: Annotated[str, typer.Option(help="Who records.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the first simulated scene.")] = 0,
    split: Annotated[str, typer.Option(help="Split of the first simulated scene.")] = "seeds",
    skill: Annotated[str, typer.Option(help="Skill of the first scene; empty: any.")] = "",
    sensor_reliability: Annotated[
        str, typer.Option(help="Of the sensor topics: best_effort or reliable.")
    ] = "best_effort",
    second_goal: Annotated[
        str, typer.Option(help="A goal that comes while one runs: reject or preempt.")
    ] = "reject",
    start_stopped: Annotated[
        bool, typer.Option(help="Begin with the emergency stop latched, until gate/reset.")
    ] = False,
    allow_differences: Annotated[
        bool, typer.Option(help="Run a bundle that was made for another contract.")
    ] = False,
    adaptive: Annotated[
        bool, typer.Option(help="Infer only when something has happened.")
    ] = False,
    scheduling: Annotated[
        str,
        typer.Option(
            help="How chunks become motion: asynchronous, synchronous, ensemble, real_time, "
            "real_time_trained."
        ),
    ] = "asynchronous",
    use_sim_time: Annotated[bool, typer.Option(help="Follow /clock.")] = False,
) -> None:
    """Start the graph, restart nodes that crash, and stop everything on Ctrl-C.

    Exit status: 0 after Ctrl-C; 78 when a node found something that you have to mend (the last
    lines say what); 1 when a node kept crashing.
    """
    options = Options(
        robot=robot,
        policy=policy,
        backend=backend,
        fallback=fallback,
        threads=threads,
        cpus=cpus,
        teleop=teleop,
        terminal=terminal or own_terminal(),
        recordings=recordings,
        operator=operator,
        seed=seed,
        split=split,
        skill=skill,
        sensor_reliability=sensor_reliability,
        second_goal=second_goal,
        start_stopped=start_stopped,
        allow_differences=allow_differences,
        adaptive=adaptive,
        scheduling=scheduling,
        use_sim_time=use_sim_time,
    )
    follow_parent()
    raise typer.Exit(Supervisor(describe(kind.value, options), GraphLog()).run())
