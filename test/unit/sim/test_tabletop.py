"""The simulated sensors against the truth of the physics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from vla_ros.core.kinematics import Chain
from vla_ros.core.types import FloatArray
from vla_ros.sim.model import CAMERAS, JOINTS, robot_urdf
from vla_ros.sim.scenes import Scene, sample_scene
from vla_ros.sim.tabletop import IMAGE_SIZE, Tabletop


def scene_with_a_ball() -> Scene:
    return next(
        scene
        for scene in (sample_scene(seed=seed, skill="reach") for seed in range(100))
        if scene.find(scene.named).shape == "ball"
    )


@pytest.fixture(scope="module")
def exact() -> Iterator[Tabletop]:
    """A table with perfect sensors, and a ball on it."""
    table = Tabletop(noisy=False)
    table.reset(scene_with_a_ball())
    yield table
    table.close()


@pytest.fixture(scope="module")
def noisy() -> Iterator[Tabletop]:
    table = Tabletop()
    table.reset(scene_with_a_ball())
    yield table
    table.close()


def cloud(table: Tabletop, camera: str) -> FloatArray:
    """Every pixel of the depth image as a point in the base frame (H, W, 3) [m]."""
    info, pose = table.camera_info(camera), table.camera_pose(camera)
    _, depth = table.render(camera)
    row, column = np.mgrid[: info.height, : info.width]
    local = np.stack([(column - info.cx) / info.fx, (row - info.cy) / info.fy, np.ones_like(row)])
    points: FloatArray = (local * depth).transpose(1, 2, 0) @ pose[:3, :3].T + pose[:3, 3]
    return points


def pixel_of(table: Tabletop, camera: str, point: FloatArray) -> tuple[float, float, float]:
    """Column, row [px] and depth [m] of a point in the base frame."""
    info, pose = table.camera_info(camera), table.camera_pose(camera)
    x, y, z = pose[:3, :3].T @ (point - pose[:3, 3])
    return info.fx * x / z + info.cx, info.fy * y / z + info.cy, float(z)


def test_images_and_depth_have_the_contracts_types(noisy: Tabletop) -> None:
    for camera in CAMERAS:
        rgb, depth = noisy.render(camera)
        assert rgb.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
        assert rgb.dtype == np.uint8
        assert depth.shape == (IMAGE_SIZE, IMAGE_SIZE)
        assert depth.dtype == np.float32


def test_depth_in_metres_and_the_intrinsics_put_the_table_at_height_zero(exact: Tabletop) -> None:
    points = cloud(exact, "front").reshape(-1, 3)
    table = points[(points[:, 2] > -0.01) & (points[:, 2] < 0.002) & (points[:, 0] < 0.4)]
    assert len(table) > 2000
    assert np.abs(table[:, 2]).max() < 0.003


@pytest.mark.parametrize("camera", CAMERAS)
def test_depth_shows_the_balls_surface_where_the_physics_has_it(
    exact: Tabletop, camera: str
) -> None:
    item = exact.scene.find(exact.scene.named)
    centre = np.array(exact.data.body(item.name).xpos)
    points = cloud(exact, camera).reshape(-1, 3)
    distance = np.linalg.norm(points - centre, axis=1)
    on_ball = (distance < item.half_size + 0.004) & (points[:, 2] > 0.006)
    if camera == "front":
        assert on_ball.sum() > 15
    # front: a pixel is 3 mm wide there
    assert np.abs(distance[on_ball] - item.half_size).max(initial=0.0) < 0.0035


def test_the_tcp_is_seen_at_the_pixel_that_camera_info_says(exact: Tabletop) -> None:
    chain = Chain.from_urdf(robot_urdf(), "base_link", "tcp")
    tcp = chain.forward(exact.joint_positions[:5])[:3, 3]
    np.testing.assert_allclose(tcp, exact.data.site("tcp").xpos, atol=1e-4)
    column, row, depth = pixel_of(exact, "wrist", tcp)
    assert 0 <= column < IMAGE_SIZE
    assert 0 <= row < IMAGE_SIZE
    assert 0.03 < depth < 0.2
    column, row, _ = pixel_of(exact, "front", tcp)
    nearby = cloud(exact, "front")[
        round(row) - 4 : round(row) + 5, round(column) - 4 : round(column) + 5
    ]
    assert np.linalg.norm(nearby - tcp, axis=-1).min() < 0.03, "no finger near the tcp's pixel"


def test_noisy_depth_has_holes_and_is_quantized_to_millimetres(noisy: Tabletop) -> None:
    for camera in CAMERAS:
        _, depth = noisy.render(camera)
        holes = (depth == 0).mean()
        assert 0.001 < holes < 0.25
        np.testing.assert_allclose(depth * 1000, np.round(depth * 1000), atol=1e-3)


def test_perfect_depth_has_no_holes(exact: Tabletop) -> None:
    _, depth = exact.render("front")
    assert (depth > 0).all()


def test_image_noise_differs_from_frame_to_frame(noisy: Tabletop) -> None:
    first, second = (noisy.render("front")[0].astype(int) for _ in range(2))
    difference = np.abs(first - second)
    assert 0.5 < difference.mean() < 15


def test_the_accelerometer_at_rest_feels_gravity(exact: Tabletop, noisy: Tabletop) -> None:
    assert np.linalg.norm(exact.read_imu()[3:]) == pytest.approx(9.81, abs=0.05)
    window = noisy.imu_window()
    assert window.shape == (20, 6)
    assert window.dtype == np.float32
    assert np.linalg.norm(window[:, 3:], axis=1).mean() == pytest.approx(9.81, abs=1.2)
    assert np.abs(window[:, :3]).max() < 0.1
    assert window.std(axis=0).min() > 0, "a sensor without noise"


def test_the_gyro_feels_the_arm_turn(exact: Tabletop) -> None:
    exact.reset(exact.scene)
    target = exact.joint_positions
    target[0] += 0.5
    for _ in range(15):
        exact.step(target)
    assert np.linalg.norm(exact.imu_window()[:, :3], axis=1).max() > 0.3


def test_the_arm_goes_where_it_is_told_in_ten_milliseconds_a_step(noisy: Tabletop) -> None:
    noisy.reset(noisy.scene)
    target = noisy.joint_positions + np.array([0.2, -0.1, 0.1, 0.1, 0.2, -0.3])
    for _ in range(100):
        noisy.step(target)
    assert noisy.time_s == pytest.approx(1.0)
    np.testing.assert_allclose(noisy.joint_positions, target, atol=0.05)
    np.testing.assert_allclose(noisy.joint_velocities, 0.0, atol=0.05)
    assert not noisy.score().violated


def test_a_scene_gives_the_same_sensor_data_again() -> None:
    seen = []
    for _ in range(2):
        table = Tabletop()
        table.reset(sample_scene(seed=4))
        target = table.joint_positions + 0.1
        for _ in range(10):
            table.step(target)
        seen.append((*table.render("front"), *table.render("wrist"), table.imu_window()))
        table.close()
    for first, second in zip(*seen, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_front_camera_is_not_where_the_contract_says_but_near(exact: Tabletop) -> None:
    mount = Chain.from_urdf(robot_urdf(), "base_link", "front_camera_optical").tip
    shift = exact.camera_pose("front")[:3, 3] - mount[:3, 3]
    assert 0 < np.linalg.norm(shift) < 0.014
    still = replace(
        exact.scene, appearance=replace(exact.scene.appearance, front_offset=np.zeros(6))
    )
    exact.reset(still)
    np.testing.assert_allclose(exact.camera_pose("front"), mount, atol=1e-6)


def test_link_transforms_lead_to_the_tcp(noisy: Tabletop) -> None:
    parents = {child: (parent, xyz, quat) for parent, child, xyz, quat in noisy.link_transforms()}
    assert not {item.name for item in noisy.scene.objects} & set(parents)
    point, link = np.zeros(3), "tcp"
    while link in parents:
        link, xyz, (x, y, z, w) = parents[link]
        axis = np.array([x, y, z])
        point = point + 2 * np.cross(axis, np.cross(axis, point) + w * point) + xyz
    assert link == "base_link"
    np.testing.assert_allclose(point, noisy.data.site("tcp").xpos, atol=1e-6)


def test_before_the_first_reset_there_is_no_scene() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        _ = Tabletop().scene


def test_joints_are_in_the_published_order() -> None:
    assert JOINTS == (
        "shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper",
    )  # fmt: skip
