"""What an instruction means, read by the planner's words, so that two can be compared."""

from __future__ import annotations

from functools import cache

from vla_ros.core.errors import UserError
from vla_ros.data.episode import Episode
from vla_ros.evaluation.scene_search import Request, read_request
from vla_ros.planner.instruction_check import InstructionCheck
from vla_ros.planner.vocabulary import Vocabulary
from vla_ros.sim.scene_record import SCENE_KEY, redraw_scene
from vla_ros.sim.scenes import Goal, Scene

#: What an instruction asks for, step by step.
Meaning = tuple[Request, ...]


def read_meaning(text: str) -> Meaning:
    """Return what an instruction asks for.

    Raises:
        UserError: if the planner refuses it, or nothing in it can be read.
    """
    check, vocabulary = _grammar()
    accepted = check.accept(text)
    return tuple(read_request(step, vocabulary) for step in check.steps(accepted))


def meaning_of(episode: Episode) -> Meaning:
    """Return what an episode's robot was told: what its scene says if simulated, else its words.

    Raises:
        UserError: if it cannot be told.
    """
    if SCENE_KEY in episode.extra:
        scene = redraw_scene(episode.extra[SCENE_KEY])
        if scene.text == episode.instruction:
            return tuple(request_of(scene, goal) for goal in scene.goals)
    if not episode.instruction:
        raise UserError(f"{episode.name}: has no instruction")
    return read_meaning(episode.instruction)


def request_of(scene: Scene, goal: Goal) -> Request:
    """Return a goal in a scene as what an instruction would ask for."""
    named = scene.find(goal.named)
    base = container = None
    if goal.skill == "stack" and goal.target:
        below = scene.find(goal.target)
        base = (below.colour, below.shape)
    elif goal.skill == "place":
        container = goal.target
    return Request(
        skill=goal.skill,
        named=(named.colour, named.shape),
        base=base,
        container=container,
        direction=goal.direction,
    )


@cache
def _grammar() -> tuple[InstructionCheck, Vocabulary]:
    vocabulary = Vocabulary.load()
    return InstructionCheck(vocabulary), vocabulary
