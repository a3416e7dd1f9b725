"""`vla_ros demo`: the whole graph does one sentence in simulation, and is filmed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vla_ros.bringup.background import BackgroundGraph
from vla_ros.core.errors import UserError
from vla_ros.evaluation.plan import first_seed
from vla_ros.evaluation.scene_search import find_scene, read_request
from vla_ros.sim.scenes import Scene

DEFAULT_INSTRUCTION = "put the red cube in the bowl"
#: What of the robot is filmed beside the overview.
CAMERAS = {"front camera": "/camera/front/image_raw", "wrist camera": "/camera/wrist/image_raw"}
INTERRUPTED = 130  # exit status after Ctrl-C


def demo(
    instruction: Annotated[
        str, typer.Argument(help="What the arm is to do, in your words.")
    ] = DEFAULT_INSTRUCTION,
    policy: Annotated[
        str, typer.Option(help="Policy bundle directory; models/tabletop-small if not given.")
    ] = "",
    seed: Annotated[
        int, typer.Option(help="Where the search for a scene starts among the test scenes.")
    ] = 0,
    timeout: Annotated[
        float, typer.Option(help="Longest duration of the task, in seconds.")
    ] = 20.0,
    output: Annotated[Path, typer.Option(help="Folder of video, picture and log.")] = Path("out"),
) -> None:
    """Start simulation, policy, gate and planner, do one sentence, film it, stop everything.

    The scene is one that training never saw, in which the sentence makes sense. Policy and
    planner get the sentence and the sensor topics alone; whether the task is done is judged from
    physics afterwards. Exit status: 0 only if planner and physics both say that it is done; 1 if
    not; 2 if it could not be tried; 130 after Ctrl-C.

    vla_ros demo "lift the green ball"

    vla_ros demo "stack the orange cube on the blue cylinder" --seed 7
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        raise typer.Exit(_demo(console, instruction, policy, first_seed(seed), timeout, output))
    except KeyboardInterrupt:
        console.print("\nstopped by Ctrl-C; everything is shut down")
        raise typer.Exit(INTERRUPTED) from None


def _demo(
    console: Console, instruction: str, policy: str, seed: int, timeout_s: float, output: Path
) -> int:
    began = time.monotonic()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    # rclpy reads the environment as it is imported
    from vla_ros.ros.domains import choose_domain

    request = read_request(instruction)
    scene = find_scene(request, seed)
    domain = choose_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    console.print(f'[bold]"{instruction}"[/], to be judged as: {request}')
    console.print(_describe(scene))
    console.print(f"starting simulation, policy, gate and planner in ROS domain {domain} ...")
    arguments = ["sim", "--seed", str(scene.seed), "--split", scene.split, "--skill", scene.skill]
    arguments += ["--policy", policy] if policy else []
    log = output / "demo.log"
    with BackgroundGraph(arguments, log=log, domain=domain) as graph:
        graph.wait_ready()
        console.print(f"ready after {time.monotonic() - began:.1f} s; log: {log}")
        status = _run_filmed(console, instruction, timeout_s, output)
    console.print(f"everything is shut down after {time.monotonic() - began:.1f} s in all")
    return status


def _describe(scene: Scene) -> str:
    things = [item.name for item in scene.objects] + [item.name for item in scene.containers]
    return f"scene {scene.seed} (never trained on); on the table: {', '.join(sorted(things))}"


def _run_filmed(console: Console, instruction: str, timeout_s: float, output: Path) -> int:
    """Send the goal, film what happens, ask physics, write the film; return the exit status."""
    from vla_ros.ros.goal_client import GoalClient
    from vla_ros.ros.rollout_film import RolloutFilm

    client = GoalClient(console)
    try:
        film = RolloutFilm(client.node, CAMERAS, instruction, lambda: client.progress)
        client.wait_for(lambda: bool(film.frames), 15.0, "the simulator publishes no pictures")
        status = client.run(instruction, timeout_s, wait_s=10.0)
        score = _score(client)
        colour = "green" if score.success else "red"
        verdict = "done" if score.success else "not done"
        console.print(
            f"physics: [bold {colour}]{verdict}[/]"
            + (f" ({score.reason})" if score.reason else "")
        )
        _write(console, film, output)
        if client.interrupted:
            return INTERRUPTED
        return 0 if status == 0 and score.success else 1
    finally:
        client.close()


def _score(client: Any) -> Any:
    from vla_ros_interfaces.srv import ScoreScene

    return client.call(ScoreScene, "/vla/sim/score", ScoreScene.Request())


def _write(console: Console, film: Any, output: Path) -> None:
    video, picture = output / "demo.mp4", output / "demo.png"
    try:
        film.write(video, picture)
    except OSError as error:
        raise UserError(f"{output}: the film cannot be written: {error}") from error
    console.print(f"video: {video}\npicture: {picture}")
