"""Pictures of what a policy looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.protocols import Attentive
from vla_ros.core.types import Float32Array
from vla_ros.engine.attention_overlay import (
    LINE_PX,
    THINGS,
    Mark,
    draw_attention,
    in_words,
    marks_of,
)
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.fitted_policy import FittedPolicy
from vla_ros.engine.grounding import Grounding
from vla_ros.testing.observations import make_observation
from vla_ros.testing.scripted_policy import ScriptedPolicy

GREY = np.full((128, 128, 3), 100, np.uint8)
MAGENTA, CYAN = (np.array(colour) for colour in THINGS.values())


def heat(in_view: tuple[float, float], cells: tuple[tuple[int, int], ...]) -> Float32Array:
    """Attention to object and target, each on one cell."""
    maps = np.zeros((2, 32, 32), np.float32)
    for seen, chance, cell in zip(maps, in_view, cells, strict=True):
        seen[cell] = chance
    return maps


def grounding(score: float = 0.9) -> Grounding:
    """Two things, of which the second is meant as the object; no target."""
    nothing = np.zeros((1, 2, 4), np.float32)
    regions = np.zeros((3, 6), np.float32)
    regions[:2, 3] = 0.8  # the third is no thing
    regions[:, 4:6] = [(20, 30), (90, 60), (5, 5)]
    pointers = np.array([[0.02, 0.9, 0.0, 0.08], [0.01, 0.01, 0.0, 0.98]], np.float32)
    return Grounding(
        slots=nothing,
        queries=nothing,
        score=score,
        match=0.5,
        pointers=pointers,
        regions=regions,
        similarity=np.zeros((2, 3), np.float32),
        embedding=np.zeros((3, 4), np.float32),
    )


def test_object_and_target_glow_in_their_colours_where_they_are_seen() -> None:
    drawn = draw_attention(GREY, heat((1.0, 1.0), ((8, 24), (20, 5)))).astype(int)
    assert drawn.shape == (256 + 4 * LINE_PX, 256, 3)
    dark = drawn[128, 200]
    at_object, at_target = (
        drawn[8 * 8 + 4, 24 * 8 + 4] - dark,
        drawn[20 * 8 + 4, 5 * 8 + 4] - dark,
    )
    assert at_object @ MAGENTA > at_object @ CYAN
    assert at_target @ CYAN > at_target @ MAGENTA
    assert at_object.max() > 100
    assert at_target.max() > 100
    assert (dark == 70).all()


def test_what_is_not_in_view_leaves_the_image_dark() -> None:
    drawn = draw_attention(GREY, heat((0.01, 0.01), ((8, 24), (20, 5))))
    assert drawn[:256].max() <= 70 + 0.04 * 255 + 1


def test_attention_to_everything_is_attention_to_nothing() -> None:
    drawn = draw_attention(GREY, np.full((2, 32, 32), 1 / 1024, np.float32))
    assert drawn[:256].max() <= 76


def test_the_image_that_is_drawn_over_is_not_changed() -> None:
    image = GREY.copy()
    mark = Mark(pixel=(64, 64), chances=(1.0, 0.0))
    draw_attention(image, heat((1.0, 1.0), ((8, 24), (20, 5))), grounding(), marks=[mark])
    np.testing.assert_array_equal(image, GREY)


def test_a_ring_is_drawn_around_what_is_meant_and_only_a_dot_on_other_things() -> None:
    nothing = heat((0.0, 0.0), ((0, 0), (0, 0)))
    plain = draw_attention(GREY, nothing).astype(int)
    drawn = draw_attention(GREY, nothing, marks=marks_of(grounding())).astype(int)
    changed = np.abs(drawn - plain).max(-1) > 30

    def near(u: int, v: int) -> int:
        return int(changed[2 * v - 20 : 2 * v + 21, 2 * u - 20 : 2 * u + 21].sum())

    assert near(90, 60) > 3 * near(20, 30) > 0
    assert near(64, 110) == 0
    assert not changed[:20, :20].any()  # a region that is no thing


def test_marks_tell_how_likely_each_thing_is_meant() -> None:
    first, second = marks_of(grounding())
    assert first.pixel == pytest.approx((20, 30))
    assert second.chances == pytest.approx((0.9, 0.01))


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (1.0, "surely there"),
        (0.8, "probably there"),
        (0.5, "perhaps there"),
        (0.49, "perhaps not there"),
        (0.0, "surely not there"),
        (float("nan"), "unknown"),
    ],
)
def test_a_score_has_words(score: float, words: str) -> None:
    assert in_words(score) == words


def test_the_score_is_written_below_the_image() -> None:
    nothing = heat((0.0, 0.0), ((0, 0), (0, 0)))
    plain, told, other = (
        draw_attention(GREY, nothing, found)[256:] for found in (None, grounding(), grounding(0.1))
    )
    assert (plain != told).any()
    assert (other != told).any()


CONTRACT = load_contract("tabletop_sim")
DRAWN = (256 + 4 * LINE_PX, 256, 3)


def test_a_policy_draws_what_it_looked_at_in_each_of_its_cameras(untrained_bundle: Path) -> None:
    policy, observation = BundlePolicy(untrained_bundle), make_observation(CONTRACT)
    assert isinstance(policy, Attentive)
    policy.start("lift the red cube")
    assert policy.draw_attention(observation, "front") is None  # it has not looked yet
    policy.infer(observation)
    for camera in ("front", "wrist"):
        drawn = policy.draw_attention(observation, camera)
        assert drawn is not None
        assert drawn.shape == DRAWN
    assert policy.draw_attention(observation, "ceiling") is None
    assert policy.draw_attention(replace(observation, images={}), "front") is None


def test_on_a_robot_with_larger_images_the_part_that_the_policy_saw_is_drawn(
    untrained_bundle: Path,
) -> None:
    inner, observation = BundlePolicy(untrained_bundle), make_observation(CONTRACT)
    large = np.kron(observation.images["front"], np.ones((4, 4, 1), np.uint8))
    policy = FittedPolicy(inner, {"front": (128, 128)})
    policy.start("lift the red cube")
    seen = replace(observation, images={**observation.images, "front": large})
    policy.infer(seen)
    np.testing.assert_array_equal(
        policy.draw_attention(seen, "front"), inner.draw_attention(observation, "front")
    )


def test_a_fitted_policy_that_cannot_draw_draws_nothing() -> None:
    policy = FittedPolicy(ScriptedPolicy(CONTRACT, lambda _: np.zeros(6)), {})
    assert policy.draw_attention(make_observation(CONTRACT), "front") is None
