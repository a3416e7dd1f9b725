"""`vla_ros collect`: teleoperate, take over from a policy, and record episodes of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vla_ros.bringup.background import BackgroundGraph
from vla_ros.bringup.graph import DEFAULT_RECORDINGS, DEFAULT_TELEOP, DISCOVERY, describe
from vla_ros.bringup.options import Options
from vla_ros.cli.collect_inputs import Inputs
from vla_ros.cli.collect_session import Session
from vla_ros.cli.collect_settings import SessionSettings
from vla_ros.cli.collect_view import LineView, LiveView, Moment, View
from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import UserError

#: How long a served callback is waited for between two looks at keys and clock [s].
TURN_S = 0.05
#: How long the nodes may take to start [s].
START_S = 60.0
#: Where the log says that operators on the network find their page.
ADDRESS = re.compile(r"operators connect to (http\S+)")
INTERRUPTED = 130  # exit status after Ctrl-C, if episodes are missing
#: What asks this process to end: Ctrl-C, a supervisor, a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def collect(
    instruction: Annotated[
        str, typer.Option(help="What the robot is to do; in simulation, the scene's sentence.")
    ] = "",
    teleop: Annotated[
        str,
        typer.Option(help="keyboard, gamepad, spacemouse, leader, network, a YAML file, or none."),
    ] = DEFAULT_TELEOP,
    robot: Annotated[
        str,
        typer.Option(
            "--robot", "--contract", help="Robot contract: a name or a file; else simulation."
        ),
    ] = "",
    policy: Annotated[
        str, typer.Option(help="Policy bundle to take over from; without one nobody else acts.")
    ] = "",
    backend: Annotated[str, typer.Option(help="Engine of the policy.")] = "onnxruntime",
    recordings: Annotated[Path, typer.Option(help="Folder of the episodes.")] = Path(
        DEFAULT_RECORDINGS
    ),
    operator: Annotated[str, typer.Option(help="Who records; kept with each episode.")] = "",
    episodes: Annotated[int, typer.Option(help="End after so many; 0: when you say so.")] = 0,
    seconds: Annotated[
        float, typer.Option(help="Episodes start by themselves and end after this; 0: by you.")
    ] = 0.0,
    pause: Annotated[float, typer.Option(help="Seconds between two of those.")] = 3.0,
    outcome: Annotated[str, typer.Option(help="Label of those: success or failure.")] = "",
    judge: Annotated[
        bool, typer.Option("--judge", help="In simulation: physics ends and labels those.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the first simulated scene.")] = 0,
    skill: Annotated[str, typer.Option(help="Skill of the scenes; empty: any.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Lines, no live picture.")] = False,
) -> None:
    """Start robot or simulator, teleop, recorder and policy, and record episodes.

    Keys start, end, label and discard episodes (the picture lists them); without a terminal the
    same is read from the standard input, one command a line: start, stop, success, failure,
    discard, undo, instruction TEXT, label TEXT, scene, quit. Ctrl-C ends the episode and
    everything. What the nodes say is in RECORDINGS/collect.log.

    Exit status: 0 at the end; 130 after Ctrl-C before --episodes were complete; 2 if you can
    mend it.

    vla_ros collect --teleop gamepad

    vla_ros collect --robot so101 --teleop leader --instruction "put the cube in the bowl"

    vla_ros collect --policy models/tabletop-small --teleop none --episodes 20 --seconds 8 --judge
    """
    options = Options(
        robot=robot, policy=policy, backend=backend, teleop=teleop, operator=operator,
        recordings=str(recordings), seed=seed, skill=skill,
    )  # fmt: skip
    graph = describe("collect", options)
    simulated = any(node.name == "sim" for node in graph)
    settings = SessionSettings(
        instruction=instruction, operator=operator, simulated=simulated, seed=seed, skill=skill,
        episodes=episodes, episode_s=seconds, pause_s=pause, outcome=outcome, judge=judge,
    )  # fmt: skip
    contract = load_contract(str(graph[0].parameters["contract"]))
    plain = quiet or not sys.stdout.isatty()
    collection = _Collection(options=options, settings=settings, contract=contract, plain=plain)
    raise typer.Exit(collection.run())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Collection:
    """One run of the command.

    Attributes:
        options: Of the graph.
        settings: Of the session.
        contract: Of the robot.
        plain: Write lines instead of a live picture.
    """

    options: Options
    settings: SessionSettings
    contract: RobotContract
    plain: bool

    def run(self) -> int:
        """Start the graph, record until the end, stop everything; return the exit status."""
        console = Console(highlight=False, soft_wrap=True)
        os.environ.setdefault(DISCOVERY, "LOCALHOST")
        domain = int(os.environ.get("ROS_DOMAIN_ID") or 0)
        log = Path(self.options.recordings).expanduser() / "collect.log"
        console.print(f"starting {', '.join(_names(self.options))} in ROS domain {domain} ...")
        try:
            with contextlib.ExitStack() as stack:
                inputs = stack.enter_context(Inputs(self.options.teleop))
                options = replace(self.options, terminal=inputs.terminal)
                arguments = ["collect", *options.arguments()]
                graph = stack.enter_context(BackgroundGraph(arguments, log=log, domain=domain))
                graph.wait_ready(START_S)
                status = self._record(console, graph, inputs)
        except KeyboardInterrupt:  # while it starts; after that an interruption is noticed
            status = INTERRUPTED if self.settings.episodes else 0
        console.print("everything is shut down")
        return status

    def _record(self, console: Console, graph: BackgroundGraph, inputs: Inputs) -> int:
        # rclpy reads the environment as it is imported
        from vla_ros.ros.graph_client import GraphClient
        from vla_ros.ros.recorder_client import RecorderClient

        client = GraphClient("vla_ros_collect")
        try:
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                    signal.signal(number, lambda *_: setattr(client, "interrupted", True))
            recorder = RecorderClient(client)
            recorder.wait_ready(START_S)
            view = self._view(console)
            session = Session(recorder, self.settings, view.say)
            with view:
                self._follow(client, recorder, session, (view, inputs, graph))
            folder = self.options.recordings
            console.print(f"{session.complete} episodes in {folder}; log: {graph.log}")
            if session.fault and not client.interrupted:
                raise UserError(session.fault)
            missing = session.complete < self.settings.episodes
            return INTERRUPTED if client.interrupted and missing else 0
        finally:
            client.close()

    def _follow(
        self,
        client: Any,
        recorder: Any,
        session: Session,
        around: tuple[View, Inputs, BackgroundGraph],
    ) -> None:
        """Serve keys, clock and view until the session ends or is to; then end the episode."""
        view, inputs, graph = around
        graph.news()  # of how it started
        inputs.address = graph.find(ADDRESS)
        if inputs.address:
            view.say(f"operators: {inputs.address}")
        try:
            session.begin()
        except UserError:
            if not client.interrupted:
                raise
        while not (session.ended or client.interrupted):
            client.spin_once(TURN_S)
            inputs.serve(session)
            session.go_on()
            for text in graph.news():
                session.say(text)
                inputs.address = graph.find(ADDRESS)  # a node that restarts makes another token
            if graph.status is not None:
                raise UserError(f"the graph ended with {graph.status}; see {graph.log}")
            view.show(_moment(recorder, session, inputs))
        interrupted, client.interrupted = client.interrupted, False
        session.close()
        client.interrupted = interrupted

    def _view(self, console: Console) -> View:
        if self.plain:
            return LineView(lambda text: console.print(text, markup=False))
        picture = Console(highlight=False)  # wraps what is too long
        return LiveView(picture, {item.topic: item.rate_hz for item in self.contract.observations})


def _moment(recorder: Any, session: Session, inputs: Inputs) -> Moment:
    return Moment(
        status=recorder.status,
        actor=recorder.actor,
        silent_s=recorder.silent_s,
        instruction=session.instruction,
        operator=inputs.operator,
        prompt=inputs.prompt,
        said=tuple(session.said),
    )


def _names(options: Options) -> list[str]:
    return [node.name for node in describe("collect", options)]
