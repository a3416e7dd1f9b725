"""The deletion test: what is removed, instead of what, and what that is found to do."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.types import ActionChunk, Float32Array, Observation
from vla_ros.engine.grounding import Grounding
from vla_ros.evaluation.deletion import (
    CURVE,
    FILLS,
    SIDE_PX,
    Probe,
    Square,
    area_under,
    important_patch,
    random_patches,
    region_patches,
    remove,
)
from vla_ros.testing.observations import make_observation

CONTRACT = load_contract("tabletop_sim")
SHAPE = (128, 128)
#: Where the red thing stands in the picture (u, v) [px], and another one that is blue.
RED, BLUE = (90, 40), (30, 100)


def scene() -> Observation:
    """A grey table with a red and a blue thing on it, half a metre away."""
    image = np.full((*SHAPE, 3), 120, np.uint8)
    for (u, v), colour in ((RED, (255, 0, 0)), (BLUE, (0, 0, 255))):
        image[v - 5 : v + 6, u - 5 : u + 6] = colour
    observation = make_observation(CONTRACT)
    depth = np.full(SHAPE, 0.5, np.float32)
    return replace(
        observation,
        images={**observation.images, "front": image},
        depths={**observation.depths, "front": depth},
    )


def pointing(chances: list[list[float]], pixels: list[tuple[int, int]]) -> Grounding:
    """A grounding with regions at pixels, and pointers with "none" as their last."""
    regions = np.zeros((len(pixels), 6), np.float32)
    regions[:, 3] = 0.9
    regions[:, 4:6] = pixels
    nothing = np.zeros((1, 2, 4), np.float32)
    return Grounding(
        slots=nothing,
        queries=nothing,
        score=0.9,
        match=0.9,
        pointers=np.array(chances, np.float32),
        regions=regions,
        similarity=np.zeros((2, len(pixels)), np.float32),
        embedding=np.zeros((len(pixels), 4), np.float32),
    )


class RedSeeker:
    """Looks for red, reaches for it, and knows where it looked; `points` and `attention` tell."""

    def __init__(self) -> None:
        self.attention: dict[str, Float32Array] = {}
        self.points = np.zeros((2, 4), np.float32)
        self.grounding = pointing([[0.9, 0.0, 0.1], [0.0, 0.0, 1.0]], [RED, BLUE])
        self.started: list[str] = []

    def start(self, instruction: str) -> None:
        self.started.append(instruction)

    def infer(self, observation: Observation) -> ActionChunk:
        image = observation.images["front"].astype(float)
        red = np.clip(image[..., 0] - image[..., 1:].max(-1), 0, 255)
        cells = red.reshape(32, 4, 32, 4).mean((1, 3)).astype(np.float32)
        in_view = float(cells.max() > 50)
        heat = in_view * cells / max(float(cells.sum()), 1e-6)
        self.attention = {"front": np.stack([heat, np.zeros_like(heat)])}
        row, column = np.unravel_index(int(cells.argmax()), cells.shape)
        self.points = np.zeros((2, 4), np.float32)
        self.points[0] = (column / 100, row / 100, 0.0, in_view)
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=0.05,
            joint_names=CONTRACT.action.joints,
            positions=np.full((2, 6), in_view * column / 10),
        )


@pytest.fixture
def probe() -> Probe:
    return Probe(RedSeeker(), "the red one", scene())  # type: ignore[arg-type]


def test_the_important_patch_lies_around_what_is_looked_at(probe: Probe) -> None:
    patch = important_patch(probe.heat, probe.shape)
    assert patch.top <= RED[1] - 5 < RED[1] + 5 < patch.top + SIDE_PX
    assert patch.left <= RED[0] - 5 < RED[0] + 5 < patch.left + SIDE_PX


@pytest.mark.parametrize("cell", [(0, 0), (31, 31), (0, 31)])
def test_at_a_corner_the_important_patch_stays_within_the_image(cell: tuple[int, int]) -> None:
    heat = np.zeros((2, 32, 32), np.float32)
    heat[0][cell] = 1.0
    patch = important_patch(heat, SHAPE)
    assert patch.mask(*SHAPE).sum() == 255 * SIDE_PX**2
    assert patch.mask(*SHAPE)[4 * cell[0] + 1, 4 * cell[1] + 1]


def test_random_patches_lie_in_the_image_and_never_on_the_important_one() -> None:
    avoid = Square(top=40, left=50)
    found = random_patches(np.random.default_rng(0), SHAPE, avoid, 50)
    assert len(set(found)) == 50
    for patch in found:
        mask = patch.mask(*SHAPE)
        assert mask.sum() == 255 * SIDE_PX**2
        assert not (mask & avoid.mask(*SHAPE)).any()


def test_patches_overlap_if_they_have_a_pixel_in_common() -> None:
    here = Square(top=40, left=50)
    assert here.overlaps(Square(top=40 + SIDE_PX - 1, left=50))
    assert not here.overlaps(Square(top=40 + SIDE_PX, left=50))


@pytest.mark.parametrize("fill", FILLS)
def test_what_is_removed_is_gone_and_all_else_stays_bit_for_bit(fill: str) -> None:
    before = scene()
    patch = Square(top=RED[1] - 12, left=RED[0] - 12)
    mask = patch.mask(*SHAPE)
    after = remove(before, mask, fill)
    inside = after.images["front"][mask > 0]
    assert np.abs(inside.astype(int) - 120).max() <= 12  # about the table's grey
    for kind in ("images", "depths"):
        old, new = getattr(before, kind), getattr(after, kind)
        np.testing.assert_array_equal(new["front"][mask == 0], old["front"][mask == 0])
        assert new["wrist"] is old["wrist"]
    np.testing.assert_array_equal(before.images["front"], scene().images["front"])
    expected = {"median": 0.0, "inpainted": 0.5}[fill]
    np.testing.assert_allclose(after.depths["front"][mask > 0], expected, atol=1e-3)


def test_even_the_whole_image_can_be_removed() -> None:
    after = remove(scene(), np.full(SHAPE, 255, np.uint8), "inpainted")
    assert (after.images["front"] == 120).all()


@pytest.mark.parametrize("fill", FILLS)
def test_removing_what_it_looks_at_is_found_to_damage_the_answer_and_the_rest_is_not(
    probe: Probe, fill: str
) -> None:
    important = important_patch(probe.heat, probe.shape)
    others = random_patches(np.random.default_rng(0), probe.shape, important, 5)
    found = probe.compare(important, others, fill)
    assert found.important.chunk_rad == pytest.approx(2.2)
    assert found.important.point_m > 0.1
    assert found.important.seen == 0.0
    assert found.mean_other("chunk_rad") == found.mean_other("point_m") == 0.0
    assert found.mean_other("seen") == pytest.approx(1.0)
    again = probe.compare(important, others, fill)
    assert again == found  # nothing is remembered of what was removed before


def test_the_region_that_is_meant_is_compared_with_those_that_are_not(probe: Probe) -> None:
    found = region_patches(probe.grounding, probe.shape)
    assert found is not None
    meant, others = found
    assert meant == Square(top=RED[1] - 12, left=RED[0] - 12)
    assert others == (Square(top=BLUE[1] - 12, left=BLUE[0] - 12),)
    damage = probe.compare(meant, others, "median")
    assert damage.important.chunk_rad > damage.mean_other("chunk_rad")


@pytest.mark.parametrize(
    ("chances", "pixels"),
    [
        ([[0.4, 0.1, 0.5], [0.0, 0.0, 1.0]], [RED, BLUE]),
        ([[0.9, 0.0, 0.1], [0.0, 0.9, 0.1]], [RED, BLUE]),
        ([[0.9, 0.0, 0.1], [0.0, 0.0, 1.0]], [RED, (RED[0] + 5, RED[1])]),
    ],
    ids=["nothing is meant", "the other is the target", "the other overlaps"],
)
def test_without_another_region_to_compare_with_there_is_no_comparison(
    chances: list[list[float]], pixels: list[tuple[int, int]]
) -> None:
    assert region_patches(pointing(chances, pixels), SHAPE) is None


def test_a_region_at_the_edge_gives_a_patch_within_the_image() -> None:
    found = region_patches(
        pointing([[0.9, 0.0, 0.1], [0.0, 0.0, 1.0]], [(2, 126), (100, 20)]), SHAPE
    )
    assert found is not None
    assert found[0] == Square(top=128 - SIDE_PX, left=0)


def test_a_curve_by_attention_falls_sooner_than_one_in_random_order(probe: Probe) -> None:
    order = np.argsort(-probe.heat.sum(0), axis=None)
    by_attention = probe.curve(order, "median")
    at_random = probe.curve(np.random.default_rng(0).permutation(order), "median")
    assert by_attention[0] == pytest.approx(1.0)
    assert at_random[0] == pytest.approx(1.0)
    assert by_attention[-1] == at_random[-1] == 0.0
    assert len(by_attention) == len(CURVE)
    assert area_under(by_attention) < area_under(at_random)


def test_opencv_can_still_inpaint_depth() -> None:
    """It is documented for 8 bit alone; this is what would tell that a version dropped it."""
    depth = np.full((9, 9), 0.5, np.float32)
    hole = np.zeros((9, 9), np.uint8)
    hole[4, 4] = 255
    depth[4, 4] = 9.0
    assert cv2.inpaint(depth, hole, 3, cv2.INPAINT_TELEA)[4, 4] == pytest.approx(0.5)
