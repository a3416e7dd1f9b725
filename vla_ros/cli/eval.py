"""`vla_ros eval`: measure a policy on a task suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from vla_ros.cli.episode_bar import episode_bar, forget_episodes, log_beside
from vla_ros.cli.evaluation_cost import cost_of_impairment, cost_of_reuse, play_directly
from vla_ros.cli.measurement import conclude
from vla_ros.cli.musts import Musts
from vla_ros.cli.reasoning import REASONING, evaluate_reasoning, is_reasoning
from vla_ros.cli.robustness import evaluate_robustness
from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.engine.scheduling import SCHEDULERS, ScheduleSettings
from vla_ros.evaluation.bundle_facts import bundle_facts
from vla_ros.evaluation.deprivation import LOSABLE
from vla_ros.evaluation.disturbance import DISTURBANCES
from vla_ros.evaluation.plan import BACKEND, EvaluationPlan, first_seed
from vla_ros.evaluation.report import Report
from vla_ros.sim.reasoning import REASONING_SUITES

EPISODES = 200
EPISODES_THROUGH_ROS = 60
EPISODES_PER_DISTURBANCE = 100
EPISODES_PER_SUITE = 60
SHOWN_FAILURES = 12
DISTURB_HELP = "Disturb the senses; more than once for several at once.\n\n" + "\n\n".join(
    f"{name}: {disturbance.effect}." for name, disturbance in DISTURBANCES.items()
)

#: Which musts an evaluation has to reach, by what it changes about the plain core suite.
MUSTS = {
    "through_ros": "vla_ros eval --through-ros",
    "instruction": "vla_ros eval --ablate instruction",
    "phrasing": "vla_ros eval --split phrasing",
    "combination": "vla_ros eval --split combination",
    "seeds": "vla_ros eval --suite core",
}


def evaluate(
    policy: Annotated[
        Path | None, typer.Option(help="The bundle; models/tabletop-small if none is named.")
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            help="Which tasks: core; robustness (core under every disturbance); reasoning, or one "
            f"of its suites: {', '.join(REASONING_SUITES)}."
        ),
    ] = "core",
    split: Annotated[
        str,
        typer.Option(help="What training never saw: seeds (scenes), phrasing, combination."),
    ] = "seeds",
    episodes: Annotated[
        int | None,
        typer.Option(
            help="How many; 200 if not given, 60 through ROS, 100 per disturbance, 60 of each "
            "suite for --suite reasoning."
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(help="First seed. Small numbers are added to 1,000,000,000."),
    ] = 0,
    phrasings: Annotated[
        Path | None, typer.Option(help="YAML file: skill -> templates of your operators' words.")
    ] = None,
    ablate: Annotated[
        str | None,
        typer.Option(
            help="instruction: tell each episode another's sentence. vision: show another table."
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help=f"Take a sensor away: {', '.join(LOSABLE)}; more than once for more."),
    ] = None,
    disturb: Annotated[list[str] | None, typer.Option(help=DISTURB_HELP)] = None,
    patch: Annotated[
        Path | None, typer.Option(help="PNG of `vla_ros patch` in place of the shipped one.")
    ] = None,
    adaptive: Annotated[
        bool,
        typer.Option("--adaptive", help="Infer only when something has happened; say the cost."),
    ] = False,
    delay: Annotated[
        float,
        typer.Option(
            help="Seconds from an observation to when its chunk is executed, one inference at a "
            "time: how a slower model would do."
        ),
    ] = 0.0,
    scheduling: Annotated[
        str, typer.Option(help=f"How chunks become motion: {', '.join(SCHEDULERS)}.")
    ] = "asynchronous",
    deadline: Annotated[
        float, typer.Option(help="Seconds after which a chunk is not executed; 0 for none.")
    ] = 0.0,
    text_only: Annotated[
        bool,
        typer.Option(help="Also play reasoning suites shown another table, as a baseline."),
    ] = True,
    backend: Annotated[
        str, typer.Option(help="Engine that runs the bundle; name:argument for a device.")
    ] = BACKEND,
    through_ros: Annotated[
        bool, typer.Option("--through-ros", help="Run the real nodes, in real time.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    json: Annotated[Path | None, typer.Option(help="Write the results here.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if a must falls short (bench/musts.toml).")
    ] = False,
    video: Annotated[Path | None, typer.Option(help="Film the failures into this folder.")] = None,
) -> None:
    """Measure a policy on scenes that training never saw, in simulation, faster than real time.

    Episodes end at success (judged from physics), when something is moved that the instruction
    does not ask to move, when the policy refuses what it does not see, or after 15 s for each
    step that is asked for. Training draws its seeds below 1,000,000,000, so no
    `--seed` meets it: seed 7 and seed 1000000007 are the same test scene. With --json, the same
    command goes on where it was stopped.

    vla_ros eval --episodes 200 --json out/core.json --check

    vla_ros eval --split phrasing

    vla_ros eval --phrasings my_words.yaml --episodes 50

    vla_ros eval --ablate instruction

    vla_ros eval --without depth

    vla_ros eval --disturb motion_blur

    vla_ros eval --adaptive

    vla_ros eval --delay 0.2 --scheduling real_time --policy models/tabletop-flow

    vla_ros eval --backend openvino

    vla_ros eval --suite robustness --json out/robustness.json

    vla_ros eval --suite reasoning --json out/reasoning.json --check

    vla_ros eval --through-ros --episodes 60
    """
    bundle = policy or resource_path("models/tabletop-small")
    robustness = suite == "robustness"
    if patch is not None and not robustness and "adversarial_patch" not in (disturb or ()):
        raise UserError("--patch is shown by --disturb adversarial_patch; give that too")
    plan = EvaluationPlan(
        suite="core" if suite in (REASONING, "robustness") else suite,
        split=split,
        episodes=_usual_episodes(through_ros, suite) if episodes is None else episodes,
        first_seed=first_seed(seed),
        phrasings=phrasings,
        ablate=ablate,
        without=tuple(without or ()),
        disturb=tuple(disturb or ()),
        patch=patch,
        adaptive=adaptive,
        backend=backend,
        delay_s=delay,
        schedule=ScheduleSettings(scheduling=scheduling, deadline_s=deadline),
    )
    if robustness:
        if through_ros or video is not None:
            raise UserError("--suite robustness takes no --through-ros and no --video")
        log = log_beside(json)
        raise typer.Exit(
            evaluate_robustness(bundle, plan, workers=workers, json=json, log=log, check=check)
        )
    if is_reasoning(suite):
        if through_ros or video is not None or without or disturb or ablate or adaptive:
            raise UserError(
                f"--suite {suite} takes no --through-ros, --video, --without, --disturb, --ablate "
                "or --adaptive"
            )
        status = evaluate_reasoning(
            bundle, plan, suite, blind=text_only, workers=workers, json=json, check=check
        )
        raise typer.Exit(status)
    changed = "through_ros" if through_ros else ablate or ("phrasing" if phrasings else split)
    command = _impaired(plan) or MUSTS.get(changed, f"vla_ros eval --ablate {changed}")
    if check:
        Musts.load(command)  # or it would be known only after everything is played
    if through_ros:
        if video is not None:
            raise UserError("--video films direct runs; it does not go with --through-ros")
        report, results = _through_ros(bundle, plan, workers, json)
    else:
        report = play_directly("episodes", bundle, plan, workers, json)
        results = report.to_dict()
        if without or disturb:
            results |= cost_of_impairment(bundle, report, workers, json)
        elif adaptive:
            results |= cost_of_reuse(bundle, report, workers, json)
    _print_failures(report)
    results |= bundle_facts(bundle)
    status = conclude(command, results, json_path=json, check=check)
    forget_episodes(json)
    if video is not None:
        _film(bundle, report, video)
    raise typer.Exit(status)


def _usual_episodes(through_ros: bool, suite: str) -> int:
    if suite == "robustness":
        return EPISODES_PER_DISTURBANCE
    if suite == REASONING:
        return EPISODES_PER_SUITE
    return EPISODES_THROUGH_ROS if through_ros else EPISODES


def _impaired(plan: EvaluationPlan) -> str:
    """Return the command that makes it as hard as the plan does; "" if it does not."""
    options = {"without": plan.without, "disturb": plan.disturb}
    named = [f"--{option} {' '.join(names)}" for option, names in options.items() if names]
    named += ["--adaptive"] * plan.adaptive
    if plan.takes_time:
        named += [f"--delay {plan.delay_s:g} --scheduling {plan.schedule.scheduling}"]
    return " ".join(["vla_ros eval", *named]) if named else ""


def _through_ros(
    bundle: Path, plan: EvaluationPlan, workers: int, json: Path | None
) -> tuple[Report, dict[str, Any]]:
    """Evaluate through the nodes, and directly with the same seeds to compare."""
    if plan != EvaluationPlan(episodes=plan.episodes, first_seed=plan.first_seed):
        raise UserError(
            "--through-ros plays the core suite on unseen seeds; it takes no --split, "
            "--phrasings, --adaptive, --backend, --ablate, --without, --disturb, --delay, "
            "--scheduling or --deadline"
        )
    from vla_ros.cli.through_ros import evaluate_through_ros  # only this imports rclpy

    direct = play_directly("direct", bundle, plan, workers, json)
    with episode_bar(plan.episodes) as watch:
        report = evaluate_through_ros(
            bundle=bundle, plan=plan, on_episode=watch("through ROS"), log=log_beside(json)
        )
    results = report.to_dict()
    results["direct_success"] = direct.success
    results["direct_per_skill"] = direct.per_skill()
    results["points_from_direct"] = 100.0 * abs(direct.success - report.success)
    return report, results


def _print_failures(report: Report) -> None:
    failures = [result for result in report.results if not result.success]
    if not failures:
        return
    title = f"{len(failures)} failures"
    if len(failures) > SHOWN_FAILURES:
        title += f", the first {SHOWN_FAILURES} (all are in the JSON)"
    table = Table("seed", "skill", "instruction", "reason", title=title, title_justify="left")
    for result in failures[:SHOWN_FAILURES]:
        table.add_row(str(result.seed), result.skill, result.instruction, result.reason)
    Console(soft_wrap=False).print(table)


def _film(bundle: Path, report: Report, directory: Path) -> None:
    from vla_ros.evaluation.filming import film_failures  # imageio starts slowly

    for path in film_failures(bundle, report, directory):
        Console().print(f"filmed {path}", highlight=False)
