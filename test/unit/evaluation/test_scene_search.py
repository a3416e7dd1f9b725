"""Scenes for a user's own sentence: what is asked for stands on the table, and only once."""

from __future__ import annotations

import pytest

from vla_ros.core.errors import UserError
from vla_ros.evaluation.scene_search import Request, find_scene, read_request
from vla_ros.sim.scenes import TEST_SEED, sample_scene

RED_CUBE, BLUE_CYLINDER = ("red", "cube"), ("blue", "cylinder")


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("touch the red cube", Request(skill="reach", named=RED_CUBE)),
        ("Pick up the RED block, please!", Request(skill="lift", named=RED_CUBE)),
        (
            "get the red ball airborne",
            Request(skill="lift", named=("red", "ball")),
        ),
        (
            "push the red cube to the left right now",
            Request(skill="push", named=RED_CUBE, direction="left"),
        ),
        (
            "go ahead and slide the red cube towards the robot",
            Request(skill="push", named=RED_CUBE, direction="backward"),
        ),
        (
            "could you put the red cube in the bowl",
            Request(skill="place", named=RED_CUBE, container="bowl"),
        ),
        (
            "stack the red cube on the blue cylinder",
            Request(skill="stack", named=RED_CUBE, base=BLUE_CYLINDER),
        ),
        (
            "on top of the blue cylinder, set the red cube",
            Request(skill="stack", named=RED_CUBE, base=BLUE_CYLINDER),
        ),
        (
            "crown the blue cylinder with the red cube",
            Request(skill="stack", named=RED_CUBE, base=BLUE_CYLINDER),
        ),
        ("lift the orange thing", Request(skill="lift", named=("orange", None))),
        ("lift the can", Request(skill="lift", named=(None, "cylinder"))),
    ],
)
def test_plain_sentences_are_read(text: str, request_: Request) -> None:
    assert read_request(text) == request_


def test_sentences_without_an_object_are_refused_with_an_example() -> None:
    with pytest.raises(UserError, match="lift the red cube"):
        read_request("make me a coffee")


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("put the red cube in the bowl", "seeds"),
        ("stack the orange cube on the blue cylinder", "seeds"),
        ("push the green ball forward", "seeds"),
        ("lift the red cylinder", "anything"),
        ("stack the orange cube on the red cylinder", "anything"),
        ("lift the yellow thing", "seeds"),
    ],
)
def test_the_scene_has_the_task_and_is_a_test_scene(text: str, split: str) -> None:
    request = read_request(text)
    scene = find_scene(request)
    assert request.fits(scene)
    assert scene.split == split
    assert scene.seed >= TEST_SEED
    again = sample_scene(seed=scene.seed, split=scene.split, skill=scene.skill)
    assert again.text == scene.text


def test_what_is_asked_for_stands_there_once() -> None:
    scene = find_scene(read_request("lift the yellow thing"))
    assert [item.colour for item in scene.objects].count("yellow") == 1


def test_the_search_goes_on_from_its_first_seed() -> None:
    request = read_request("lift the red cube")
    first = find_scene(request)
    assert find_scene(request, first.seed + 1).seed > first.seed


def test_a_task_that_no_scene_has_is_refused() -> None:
    with pytest.raises(UserError, match="stacks stand on cubes and cylinders"):
        find_scene(read_request("stack the red cube on the green ball"))
