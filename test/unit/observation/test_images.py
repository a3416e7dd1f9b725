from __future__ import annotations

import cv2
import numpy as np
import pytest

from vla_ros.observation.images import fit_depth, fit_rgb


def test_an_image_of_the_right_size_is_handed_on_as_it_is() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    depth = np.zeros((8, 8), np.float32)
    assert fit_rgb(rgb, 8, 8) is rgb
    assert fit_depth(depth, 8, 8) is depth


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (50, 200), (64, 64)])
def test_every_size_becomes_the_wanted_one(height: int, width: int) -> None:
    rgb = fit_rgb(np.full((height, width, 3), 7, np.uint8), 128, 128)
    depth = fit_depth(np.full((height, width), 0.5, np.float32), 128, 128)
    assert rgb.shape == (128, 128, 3)
    assert rgb.dtype == np.dtype(np.uint8)
    assert depth.shape == (128, 128)
    assert depth.dtype == np.dtype(np.float32)
    assert (rgb == 7).all()
    assert (depth == 0.5).all()


def test_the_middle_of_a_wide_image_is_kept() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (fit_rgb(wide, 10, 10) == 200).all()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 1280), (481, 641), (256, 256)])
def test_halving_first_gives_nearly_the_mean_over_areas(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    cut = scene[top : top + side, left : left + side]
    plain = cv2.resize(cut, (128, 128), interpolation=cv2.INTER_AREA).astype(int)
    apart = np.abs(fit_rgb(np.asarray(scene), 128, 128).astype(int) - plain)
    assert apart.mean() < 1.0
    assert apart.max() <= 8  # of 255, at the edges of the scene


def test_a_pattern_finer_than_the_result_does_not_alias() -> None:
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(fit_rgb(stripes, 128, 128).astype(int) - 100).max() <= 1


def test_shrinking_colours_averages_and_shrinking_depth_does_not() -> None:
    board = np.indices((8, 8)).sum(axis=0) % 2
    rgb = fit_rgb(np.repeat(board[..., None] * 200, 3, axis=2).astype(np.uint8), 4, 4)
    assert (rgb == 100).all()
    depth = fit_depth(board.astype(np.float32), 4, 4)
    assert set(np.unique(depth)) <= {0.0, 1.0}
