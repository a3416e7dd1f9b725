"""From depth to points: where they lie, what is left out, what is said without Open3D."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from vla_ros.core.errors import ObservationError, UserError
from vla_ros.observation.points import Cloud, CloudMaker, Pinhole

CAMERA = Pinhole(width=64, height=48, fx=60.0, fy=60.0, cx=31.5, cy=23.5)
#: A camera 0.5 m above the origin of the base, looking down: its x is the base's x.
POSE = np.array([[1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, -1.0, 0.5], [0, 0, 0, 1.0]])


def make(
    depth: NDArray[np.float32], count: int = 400, voxel_m: float = 0.01, **box: tuple[float, ...]
) -> Cloud:
    pytest.importorskip("open3d")  # of requirements/points.txt, which `make test-all` installs
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, :32] = (255, 0, 51)
    limits = {"lower": (-1.0, -1.0, 0.01), "upper": (1.0, 1.0, 0.6)} | box
    return CloudMaker(CAMERA, POSE, voxel_m=voxel_m, count=count, **limits)(rgb, depth)  # type: ignore[arg-type]


def table_with_a_block() -> NDArray[np.float32]:
    depth = np.full((48, 64), 0.5, np.float32)
    depth[10:20, 8:24] = 0.44
    return depth


def test_points_lie_where_a_pinhole_camera_sees_them() -> None:
    cloud = make(table_with_a_block(), voxel_m=1e-4)
    v, u = (axis.ravel() for axis in np.mgrid[10:20, 8:24])
    expected = np.stack(
        [(u - 31.5) / 60 * 0.44, -(v - 23.5) / 60 * 0.44, np.full(len(u), 0.06)], 1
    )
    found = cloud.points[cloud.mask]
    assert len(found) == len(expected)
    order, other = (np.lexsort(xyz[:, :2].round(5).T) for xyz in (found, expected))
    np.testing.assert_allclose(found[order, :3], expected[other], atol=1e-5)


def test_points_have_the_colours_of_their_pixels() -> None:
    cloud = make(table_with_a_block(), voxel_m=1e-4)
    np.testing.assert_allclose(cloud.points[cloud.mask, 3:], [[1.0, 0.0, 0.2]] * 160, atol=1e-6)


def test_what_is_outside_the_box_is_left_out() -> None:
    cloud = make(table_with_a_block(), lower=(-0.12, -1.0, 0.01), upper=(-0.1, 1.0, 0.6))
    x = cloud.points[cloud.mask, 0]
    assert len(x) > 0
    assert ((x >= -0.12) & (x <= -0.1)).all()
    assert not make(np.full((48, 64), 0.5, np.float32)).mask.any(), "the table is below the box"


def test_one_voxel_is_one_point() -> None:
    fine, coarse = (make(table_with_a_block(), voxel_m=edge) for edge in (0.01, 0.03))
    cells = np.floor(fine.points[fine.mask, :3] / 0.01)
    assert 0 < coarse.mask.sum() < fine.mask.sum() / 4
    assert len(np.unique(cells, axis=0)) > 0.5 * fine.mask.sum()


def test_padding_is_masked_and_zero() -> None:
    cloud = make(table_with_a_block(), count=400)
    found = int(cloud.mask.sum())
    assert cloud.points.shape == (400, 6)
    assert cloud.points.dtype == np.float32
    assert cloud.mask[:found].all()
    assert not cloud.points[found:].any()


def test_more_points_than_there_is_room_for_are_thinned_out_evenly() -> None:
    cloud = make(table_with_a_block(), voxel_m=1e-4, count=20)
    xyz = cloud.points[:, :3]
    assert cloud.mask.all()
    apart = np.linalg.norm(xyz[:, None] - xyz[None], axis=-1) + np.eye(20)
    assert apart.min() > 0.008, "pixels are 7 mm apart"
    assert np.ptp(xyz[:, 0]) > 0.9 * 15 / 60 * 0.44


@pytest.mark.parametrize("hole", [0.0, np.nan, np.inf])
def test_holes_make_no_points(hole: float) -> None:
    depth = table_with_a_block()
    depth[:, :] = np.where(depth < 0.5, hole, depth)
    assert not make(depth).mask.any()


def test_the_same_image_makes_the_same_points() -> None:
    first, second = (make(table_with_a_block(), count=20) for _ in range(2))
    assert np.array_equal(first.points, second.points)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(
        ObservationError, match=r"expected image \(48, 64, 3\) and depth \(48, 64\)"
    ):
        make(np.zeros((10, 10), np.float32))


def test_without_open3d_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(
        UserError, match=r"(?s)Open3D, which cannot be .*-r requirements/points\.txt"
    ):
        CloudMaker(
            CAMERA, POSE, lower=(0.0, 0.0, 0.0), upper=(1.0, 1.0, 1.0), voxel_m=0.01, count=8
        )
