"""`vla_ros explain`: play an episode and show what the policy looked at and what decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vla_ros.cli.explanation_page import write_explanation
from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.engine.attention_overlay import in_words
from vla_ros.engine.contributions import METHODS
from vla_ros.evaluation.explanation import EVERY, Explanation, explain_episode, things_on
from vla_ros.evaluation.plan import LIMIT_S, SPLITS, SUITES, EvaluationPlan, first_seed
from vla_ros.evaluation.scene_search import find_scene, read_request
from vla_ros.sim.reasoning import sample_reasoning_scene
from vla_ros.sim.scenes import Scene, sample_scene


def explain(
    instruction: Annotated[
        str | None,
        typer.Option(help="What the policy is told; the scene's own sentence if not given."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The scene; with --skill that of `vla_ros eval`. If not given: the first in "
            "which the instruction makes sense, else scene 0."
        ),
    ] = None,
    suite: Annotated[
        str, typer.Option(help=f"What the scene is drawn for: {', '.join(SUITES)}.")
    ] = "core",
    skill: Annotated[
        str | None,
        typer.Option(help="The scene's skill, which `vla_ros eval` lists beside the seed."),
    ] = None,
    split: Annotated[
        str, typer.Option(help=f"Of the scene and its words: {', '.join(SPLITS)}.")
    ] = "seeds",
    policy: Annotated[
        Path | None, typer.Option(help="The bundle; models/tabletop-small if none is named.")
    ] = None,
    every: Annotated[
        int, typer.Option(help="Measure what decided for every so manieth chunk; 20 are a second.")
    ] = EVERY,
    method: Annotated[
        str,
        typer.Option(
            help="leave_one_out: what changes without each source. shapley: the same in all "
            "combinations, some three times slower, fair to sources that tell the same."
        ),
    ] = "leave_one_out",
    limit: Annotated[
        float, typer.Option(help="Longest duration of each step, in seconds.")
    ] = LIMIT_S,
    output: Annotated[Path, typer.Option(help="Folder of picture, film and data.")] = Path(
        "out/explanation"
    ),
) -> None:
    """Play one simulated episode and show why the policy did what it did.

    Writes explanation.png (what was looked at over time, in each camera, and what decided),
    attention.mp4 and explanation.json. Magenta is the object, cyan the target; heat shows where
    it is seen now, rings what the words were taken for when they came, with the chance of each
    thing. Bars show how far the next half second of commands moves when a source is taken away:
    a camera, depth, IMU, the memory of where things stood, or the words.

    vla_ros explain

    vla_ros explain --instruction "put the red cube in the bowl"

    vla_ros explain --suite spatial --seed 12 --method shapley

    vla_ros explain --split phrasing --seed 1000000004 --skill stack

    vla_ros explain --seed 3 --instruction "lift the green ball" --output out/green
    """
    console = Console(highlight=False, soft_wrap=True)
    if method not in METHODS:
        raise UserError(f"--method {method!r} does not exist; choose {' or '.join(METHODS)}")
    scene = _scene(instruction, seed, suite=suite, split=split, skill=skill)
    console.print(f"scene {scene.seed}; on the table: {', '.join(things_on(scene))}")
    console.print(f'told: "{instruction or scene.text}"')
    found = explain_episode(
        policy or resource_path("models/tabletop-small"),
        scene,
        instruction=instruction,
        every=every,
        method=method,
        limit_s=limit,
    )
    if not found.moments:
        raise UserError(f"nothing was inferred: {found.result.reason}")
    _tell(console, found)
    try:
        page, film, data = write_explanation(found, output)
    except OSError as error:
        raise UserError(f"{output}: the explanation cannot be written: {error}") from error
    console.print(f"picture: {page}\nfilm: {film}\ndata: {data}")


def _scene(
    instruction: str | None, seed: int | None, *, suite: str, split: str, skill: str | None
) -> Scene:
    """Return the scene that is asked for.

    Raises:
        UserError: if there is no such suite, split or skill, or no scene in which the instruction
            makes sense.
    """
    if suite == "core" and seed is None and instruction is not None:
        return find_scene(read_request(instruction))
    plan = EvaluationPlan(suite=suite, split=split)
    index = first_seed(seed or 0) - plan.first_seed
    if skill is None:
        return plan.scene(index)
    if skill not in plan.skills():
        raise UserError(
            f"--skill {skill!r} is not in {suite}; choose {' or '.join(plan.skills())}"
        )
    if suite == "core":
        return sample_scene(seed=plan.first_seed + index, split=split, skill=skill)
    return sample_reasoning_scene(
        seed=plan.first_seed + index, suite=suite, split=split, skill=skill
    )


def _tell(console: Console, found: Explanation) -> None:
    """Print how it went, what the words were taken for, and what decided."""
    result = found.result
    console.print(f"physics: {'done' if result.success else 'not done'} ({result.reason})")
    for step in dict.fromkeys(moment.instruction for moment in found.moments):
        last = [moment for moment in found.moments if moment.instruction == step][-1]
        if last.grounding is not None:
            score = last.grounding.score
            console.print(f'"{step}": what is named is {in_words(score)} ({score:.0%})')
    table = Table("source", "share of what decides", title=found.method, title_justify="left")
    for name, share in found.mean_shares().items():
        table.add_row(name, f"{share:.0%}")
    console.print(table)
