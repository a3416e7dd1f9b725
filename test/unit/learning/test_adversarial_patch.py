"""The adversarial patch: pasted where it says, optimized, never from test scenes, and signed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vla_ros.core.errors import UserError
from vla_ros.engine.language import LanguageEncoder
from vla_ros.evaluation.disturbance.patch import patch_bundle, random_patch, read_patch
from vla_ros.learning import adversarial_patch
from vla_ros.learning.adversarial_patch import (
    Patch,
    PatchConfig,
    States,
    make_patch,
    render_states,
    respond,
)
from vla_ros.learning.recipes import tabletop_small
from vla_ros.policy.configuration import CAMERAS
from vla_ros.policy.model import Policy
from vla_ros.sim.scenes import TEST_SEED


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    return Policy(tabletop_small()).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def states() -> States:
    """Ten states of noise, of five scenes."""
    rng = np.random.default_rng(0)
    images = {f"rgb_{c}": rng.integers(0, 256, (10, 128, 128, 3), np.uint8) for c in CAMERAS}
    depths = {f"depth_{c}": rng.uniform(0.2, 0.6, (10, 128, 128)) for c in CAMERAS}
    return {
        **images,
        **{name: depth.astype(np.float32) for name, depth in depths.items()},
        "imu": rng.normal(size=(10, 20, 6)).astype(np.float32),
        "state": rng.normal(0, 0.3, (10, 18)).astype(np.float32),
        "words": rng.normal(size=(10, 32, 384)).astype(np.float32),
        "mask": np.ones((10, 32), np.float32),
        "scene": np.arange(10) // 2,
    }


def test_the_patch_lies_in_every_image_and_the_cells_under_it_are_named(states: States) -> None:
    batch = adversarial_patch._tensors(states, np.arange(10))
    patch = torch.full((24, 24, 3), 999.0)
    rng = np.random.default_rng(1)
    pasted, inside = adversarial_patch._paste(batch, patch, rng)
    places = set()
    for camera in CAMERAS:
        covered = (pasted[f"rgb_{camera}"] == 999.0).all(-1)
        assert covered.flatten(1).sum(1).tolist() == [24 * 24] * 10
        untouched = pasted[f"rgb_{camera}"][~covered]
        assert torch.equal(untouched, batch[f"rgb_{camera}"][~covered])
        centres = covered[:, 2::4, 2::4]  # the pixel behind the middle of each 4 x 4 cell
        assert torch.equal(centres, inside[camera].view(10, 32, 32))
        assert set(inside[camera].sum(1).tolist()) == {36}
        places |= {tuple(row.nonzero()[0].tolist()) for row in covered}
    assert len(places) == 20
    assert not (batch["rgb_front"] == 999.0).any()


def test_a_patch_is_taken_for_the_object_more_often_the_longer_it_is_made(
    policy: Policy, states: States
) -> None:
    heard: list[tuple[int, float]] = []
    config = PatchConfig(scenes=5, steps=25, batch=4)
    made = make_patch(policy, states, config, lambda step, taken: heard.append((step, taken)))
    assert [step for step, _ in heard] == list(range(1, 26))
    early, late = (np.mean([taken for _, taken in part]) for part in (heard[:5], heard[-5:]))
    assert late > early
    assert made.pixels.shape == (24, 24, 3)
    assert made.pixels.dtype == np.uint8
    assert made.moved_rad > 0
    assert made.control_rad > 0


def test_equal_seeds_make_equal_patches(policy: Policy, states: States) -> None:
    config = PatchConfig(scenes=5, steps=2, batch=2)
    first, again = (make_patch(policy, states, config, lambda *_: None) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert first.moved_rad == again.moved_rad


def test_gradients_reach_every_pixel_of_both_cameras(policy: Policy, states: States) -> None:
    batch = adversarial_patch._tensors(states, np.arange(1))
    images = [batch[f"rgb_{camera}"].requires_grad_(True) for camera in CAMERAS]
    where = respond(policy, batch).where
    sum(cells[:, 500].sum() for cells in where.values()).backward()  # type: ignore[union-attr]
    for image in images:
        assert image.grad is not None
        assert (image.grad.abs().sum(-1) > 0).float().mean() > 0.5


def test_rendered_states_are_of_training_scenes(language_files: Path) -> None:
    found = render_states(PatchConfig(scenes=5), LanguageEncoder(language_files))
    count = len(found["state"])
    assert count >= 5
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found, count)
    assert found["rgb_front"].shape[1:] == (128, 128, 3)
    assert found["state"].shape[1:] == (18,)
    assert 0.2 < found["depth_front"].max() <= 2.0
    assert set(found["scene"]) <= set(range(5))


def test_a_patch_says_against_which_bundle_it_was_made(tmp_path: Path) -> None:
    pixels = random_patch(24, 24)
    Patch(pixels, 0.2, 0.1).save(tmp_path / "out" / "patch.png", "abc123")
    assert patch_bundle(tmp_path / "out" / "patch.png") == "abc123"
    np.testing.assert_array_equal(read_patch(tmp_path / "out" / "patch.png"), pixels)
    assert Image.open(tmp_path / "out" / "patch.png").size == (24, 24)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_seed": TEST_SEED - 3}, "must lie below 1000000000; those above belong to the"),
        ({"size_px": 4}, "--size is 4; expected 8 or more"),
        ({"scenes": 1}, "--scenes is 1; expected 5 or more"),
        ({"steps": 0}, "--steps is 0; expected 1 or more"),
    ],
)
def test_a_patch_that_cannot_be_made_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PatchConfig(**options)
