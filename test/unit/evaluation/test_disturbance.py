"""What goes wrong with the senses: each disturbance by itself, and on the table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.core.types import FloatArray, Observation
from vla_ros.evaluation.deprivation import LOSABLE, open_policy
from vla_ros.evaluation.disturbance import (
    DISTURBANCES,
    Disturbance,
    DisturbedEnvironment,
    find_disturbances,
)
from vla_ros.evaluation.disturbance.noise import DepthHoles, ImuNoise
from vla_ros.evaluation.disturbance.optics import Defocus, MotionBlur, Occlusion, WrongExposure
from vla_ros.evaluation.disturbance.patch import draw_place, patch_bundle, read_patch
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.policy.bundle import Bundle
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import TEST_SEED, Scene, sample_scene
from vla_ros.testing.observations import check_observation, make_observation

SEED = TEST_SEED + 3
CONTRACT = load_contract("tabletop_sim")
RGB, DEPTH = {"rgb_front", "rgb_wrist"}, {"depth_front", "depth_wrist"}

#: What each disturbance may change of an observation; all else stays bit for bit.
CHANGES = {
    "no_depth": DEPTH,
    "no_imu": {"imu"},
    "no_wrist": {"rgb_wrist", "depth_wrist"},
    "no_front": {"rgb_front", "depth_front"},
    "late_images": RGB,
    "late_depth": DEPTH,
    "late_imu": {"imu"},
    "late_joints": {"state"},
    "late_chunks": set[str](),  # the way to the gate does it
    "noisy_images": RGB,
    "noisy_depth": DEPTH,
    "depth_holes": DEPTH,
    "noisy_imu": {"imu"},
    "noisy_joints": {"state"},
    "moved_front": set[str](),  # the simulator does it
    "moved_wrist": set[str](),
    "motion_blur": RGB,
    "defocus": RGB,
    "overexposed": RGB,
    "underexposed": RGB,
    "occlusion": RGB | DEPTH,
    "adversarial_patch": RGB,
    "random_patch": RGB,
}
ALWAYS_ALIKE = {"defocus", "overexposed", "underexposed", *(n for n in CHANGES if "late" in n)}
FILTERS = [name for name, changed in CHANGES.items() if changed]


def features(seen: Observation) -> dict[str, NDArray[np.generic]]:
    """Everything in an observation by a name of its own."""
    values: dict[str, NDArray[np.generic] | None] = {
        **{f"rgb_{camera}": image for camera, image in seen.images.items()},
        **{f"depth_{camera}": depth for camera, depth in seen.depths.items()},
        "imu": seen.imu,
        "state": seen.state,
        "command": seen.command,
        "stamp": np.array(seen.stamp_ns),
    }
    return {name: value for name, value in values.items() if value is not None}


def sequence(count: int = 4) -> list[Observation]:
    """Observations 50 ms apart, each full of other values."""
    return [
        replace(
            make_observation(CONTRACT, stamp_ns=1_000_000_000 + 50_000_000 * index, seed=index),
            state=np.full(6, 0.1 * index, np.float32),
            command=np.full(6, 0.2, np.float32),
        )
        for index in range(count)
    ]


def disturb(
    disturbance: Disturbance, seed: int, observations: list[Observation]
) -> list[Observation]:
    change = disturbance.begin(disturbance.rng(seed))
    return [change(seen) for seen in observations]


def different(one: Observation, other: Observation) -> set[str]:
    """Names of the features that are not equal in both."""
    ours, theirs = features(one), features(other)
    return {
        name
        for name in set(ours) | set(theirs)
        if name not in ours or name not in theirs or not np.array_equal(ours[name], theirs[name])
    }


def test_every_disturbance_is_in_this_table() -> None:
    assert list(CHANGES) == list(DISTURBANCES)


@pytest.mark.parametrize("name", FILTERS)
def test_a_disturbance_changes_what_it_should_and_nothing_else(name: str) -> None:
    observations = sequence()
    disturbed = disturb(DISTURBANCES[name], SEED, observations)
    assert different(observations[-1], disturbed[-1]) == CHANGES[name]


@pytest.mark.parametrize("name", FILTERS)
def test_the_robots_own_observation_is_left_alone(name: str) -> None:
    observations = sequence()
    disturb(DISTURBANCES[name], SEED, observations)
    for before, after in zip(sequence(), observations, strict=True):
        assert different(before, after) == set()


@pytest.mark.parametrize("name", [name for name in FILTERS if not name.startswith("no_")])
def test_a_disturbed_observation_is_still_what_the_contract_promises(name: str) -> None:
    for seen in disturb(DISTURBANCES[name], SEED, sequence()):
        check_observation(CONTRACT, seen)
        assert all(np.isfinite(value).all() for value in features(seen).values())


@pytest.mark.parametrize("name", FILTERS)
def test_equal_seeds_give_equal_disturbances_and_others_do_not(name: str) -> None:
    first, again, other = (
        disturb(DISTURBANCES[name], seed, sequence()) for seed in (SEED, SEED, SEED + 1)
    )
    assert all(different(x, y) == set() for x, y in zip(first, again, strict=True))
    varies = name not in ALWAYS_ALIKE and not name.startswith("no_")
    assert bool(different(first[-1], other[-1])) == varies


@pytest.mark.parametrize(
    ("name", "feature"),
    [
        ("late_images", "rgb_front"),
        ("late_depth", "depth_wrist"),
        ("late_imu", "imu"),
        ("late_joints", "state"),
    ],
)
def test_what_is_late_is_what_was_sensed_100_ms_ago(name: str, feature: str) -> None:
    observations = sequence(5)
    disturbed = disturb(DISTURBANCES[name], SEED, observations)
    for index, source in enumerate((0, 0, 0, 1, 2)):  # 50 ms apart; the first one stands in
        expected = features(observations[source])[feature]
        np.testing.assert_array_equal(features(disturbed[index])[feature], expected)


def test_a_reading_of_the_imu_has_the_same_noise_in_every_window() -> None:
    noise = ImuNoise(name="imu")
    readings = np.zeros((40, 6), np.float32)
    observations = [
        replace(seen, imu=readings[5 * index : 5 * index + 20])
        for index, seen in enumerate(sequence())
    ]
    windows = [seen.imu for seen in disturb(noise, SEED, observations)]
    for before, after in pairwise(windows):
        assert before is not None
        assert after is not None
        np.testing.assert_array_equal(before[5:], after[:-5])
        assert not np.array_equal(before[:5], after[-5:])


def test_the_imus_bias_stays_and_its_noise_has_the_stated_strength() -> None:
    noise = ImuNoise(name="imu", gyro_bias_std=0.5)
    still = replace(sequence(1)[0], imu=np.zeros((4000, 6), np.float32))
    (seen,) = disturb(noise, SEED, [still])
    assert seen.imu is not None
    np.testing.assert_allclose(seen.imu[:, :3].std(0), noise.gyro_std, rtol=0.1)
    np.testing.assert_allclose(seen.imu[:, 3:].std(0), noise.accel_std, rtol=0.1)
    assert np.abs(seen.imu[:, :3].mean(0)).max() > 0.1


def test_noise_has_the_stated_strength_and_holes_stay_holes() -> None:
    grey = {"front": np.full((128, 128, 3), 128, np.uint8)}
    depth = np.full((128, 128), 0.5, np.float32)
    depth[:40] = 0.0
    plain = replace(sequence(1)[0], images=grey, depths={"front": depth})
    (image,) = disturb(DISTURBANCES["noisy_images"], SEED, [plain])
    assert image.images["front"].std() == pytest.approx(25, rel=0.05)
    (measured,) = disturb(DISTURBANCES["noisy_depth"], SEED, [plain])
    assert (measured.depths["front"][:40] == 0).all()
    assert measured.depths["front"][40:].std() == pytest.approx(0.01, rel=0.05)
    joints = [seen.state for seen in disturb(DISTURBANCES["noisy_joints"], SEED, [plain] * 400)]
    assert np.std(joints) == pytest.approx(0.01, rel=0.1)


def test_holes_are_blocks_and_as_many_as_stated() -> None:
    holes = DepthHoles(name="holes", share=0.3, block_px=8)
    plain = sequence(1)[0]
    lost = [seen.depths["front"] == 0 for seen in disturb(holes, SEED, [plain] * 20)]
    assert np.mean(lost) == pytest.approx(0.3, abs=0.05)
    blocks = lost[0].reshape(16, 8, 16, 8).swapaxes(1, 2).reshape(-1, 64)
    assert set(blocks.sum(1)) == {0, 64}
    assert not np.array_equal(lost[0], lost[1])


def test_blur_moves_light_and_neither_adds_nor_removes_any() -> None:
    dot = np.zeros((128, 128, 3), np.uint8)
    dot[62:67, 62:67] = 200
    plain = replace(sequence(1)[0], images={"front": dot})
    for blur in (MotionBlur(name="blur"), Defocus(name="defocus")):
        (seen,) = disturb(blur, SEED, [plain])
        blurred = seen.images["front"]
        assert blurred.max() < 200
        assert int(blurred.sum()) == pytest.approx(int(dot.sum()), rel=0.02)


def test_a_smear_is_as_long_as_stated_and_turns_from_frame_to_frame() -> None:
    dot = np.zeros((128, 128, 3), np.uint8)
    dot[64, 64] = 255
    plain = replace(sequence(1)[0], images={"front": dot})
    smears = [
        seen.images["front"][..., 0]
        for seen in disturb(DISTURBANCES["motion_blur"], 1, [plain] * 3)
    ]
    for smear in smears:
        rows, columns = np.nonzero(smear > 6)
        assert math.hypot(np.ptp(rows), np.ptp(columns)) == pytest.approx(8, abs=2)
    assert not np.array_equal(smears[0], smears[1])


def test_exposure_is_counted_in_stops_and_clips() -> None:
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    plain = replace(sequence(1)[0], images={"front": ramp})
    (bright,) = disturb(WrongExposure(name="bright", stops=1.0), SEED, [plain])
    (dark,) = disturb(WrongExposure(name="dark", stops=-1.0), SEED, [plain])
    values, darker = bright.images["front"][0, :, 0], dark.images["front"][0, :, 0]
    assert values[100] == round(100 * 2 ** (1 / 2.2))
    assert (values[190:] == 255).all()
    assert darker[255] == round(255 * 0.5 ** (1 / 2.2))


@pytest.mark.parametrize("seed", range(5))
def test_an_occlusion_hides_its_share_of_picture_and_depth_all_episode(seed: int) -> None:
    observations = sequence()
    first, *_, last = disturb(Occlusion(name="thing"), seed, observations)
    for camera in ("front", "wrist"):
        hidden = last.depths[camera] == 0
        assert hidden.mean() == pytest.approx(0.2, abs=0.02)
        assert np.array_equal(hidden, first.depths[camera] == 0)
        assert len(np.unique(last.images[camera][hidden])) == 1
        shown = ~hidden
        assert np.array_equal(last.images[camera][shown], observations[-1].images[camera][shown])
    assert not np.array_equal(first.depths["front"] == 0, first.depths["wrist"] == 0)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A patch of 10 x 12 pixels in one colour."""
    path = tmp_path / "patch.png"
    Image.new("RGB", (12, 10), (1, 2, 3)).save(path)
    return path


def test_the_patch_and_its_control_are_pasted_at_the_same_places(png: Path) -> None:
    black = np.zeros((128, 128, 3), np.uint8)
    plain = replace(sequence(1)[0], images={"front": black, "wrist": black})
    names = ("adversarial_patch", "random_patch")
    patch, control = (
        disturb(disturbance, SEED, [plain, plain]) for disturbance in find_disturbances(names, png)
    )
    for camera in ("front", "wrist"):
        here, there = patch[0].images[camera], control[0].images[camera]
        assert (here.reshape(-1, 3) == (1, 2, 3)).all(1).sum() == 120
        assert np.array_equal(here.any(2), there.any(2))
        assert len(np.unique(there)) > 50
        assert np.array_equal(here, patch[1].images[camera])  # it stays
    assert not np.array_equal(patch[0].images["front"], patch[0].images["wrist"])


def test_a_patch_that_is_none_or_too_large_is_refused(png: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.png: is no picture: .*`vla_ros patch` makes one"):
        read_patch(tmp_path / "no.png")
    small = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(UserError, match="the patch has 12 x 10 px, the camera's image only 8 x 8"):
        draw_place(np.random.default_rng(0), small, read_patch(png))
    assert patch_bundle(png) is None


def test_the_shipped_patch_says_against_which_bundle_it_was_made() -> None:
    (shipped,) = find_disturbances(["adversarial_patch"])
    patch = shipped.pixels()  # type: ignore[attr-defined]
    assert patch.shape == (24, 24, 3)
    made_against = patch_bundle(shipped.path())  # type: ignore[attr-defined]
    assert made_against is not None
    assert len(made_against) == len(Bundle.open(resource_path("models/tabletop-small")).sha256)


def test_results_with_another_patch_are_another_evaluations(png: Path) -> None:
    shipped, own = (find_disturbances(["adversarial_patch"], file)[0] for file in (None, png))
    assert shipped.fingerprint != own.fingerprint


def lift_scene() -> Scene:
    return sample_scene(seed=SEED, split="seeds", skill="lift")


@pytest.fixture(scope="module")
def clean() -> Iterator[Environment]:
    environment = Environment()
    environment.reset(lift_scene())
    yield environment
    environment.close()


def pose_error(environment: Environment, camera: str) -> tuple[float, float]:
    """How far [m] and turned [deg] a camera really is from where the contract has it."""
    table = environment.table
    true = table.camera_pose(camera)
    frame = table.data.body(f"{camera}_camera_optical")
    told = np.array(frame.xmat).reshape(3, 3)
    cosine = (np.trace(told.T @ true[:3, :3]) - 1) / 2
    return float(np.linalg.norm(true[:3, 3] - frame.xpos)), math.degrees(math.acos(cosine))


@pytest.mark.parametrize(("camera", "other"), [("front", "wrist"), ("wrist", "front")])
def test_a_moved_camera_moves_in_the_picture_and_not_in_the_contract(
    clean: Environment, camera: str, other: str
) -> None:
    moved = DisturbedEnvironment(find_disturbances([f"moved_{camera}"]))
    ours, theirs = moved.reset(lift_scene()).observation, clean.reset(lift_scene()).observation
    distance_m, angle_deg = pose_error(moved, camera)
    told = [env.table.data.body(f"{camera}_camera_optical").xpos for env in (moved, clean)]
    moved.close()
    assert distance_m == pytest.approx(0.02, abs=1e-6)
    assert angle_deg == pytest.approx(3.0, abs=1e-3)
    np.testing.assert_allclose(told[0], told[1], atol=1e-9)
    assert different(ours, theirs) == {f"rgb_{camera}", f"depth_{camera}"}
    shift = np.abs(ours.images[camera].astype(int) - theirs.images[camera])
    assert (shift.max(2) > 30).mean() > 0.02  # more than the sensor's noise
    assert pose_error(clean, other)[0] < 0.02


@pytest.mark.parametrize("name", ["moved_front", "moved_wrist"])
def test_equal_seeds_move_a_camera_alike_and_others_do_not(name: str) -> None:
    disturbance, scene = DISTURBANCES[name], lift_scene()
    key = f"{name.removeprefix('moved_')}_offset"
    first, again, other = (
        getattr(disturbance.place(scene, disturbance.rng(seed)).appearance, key)
        for seed in (SEED, SEED, SEED + 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def sway(environment: Environment) -> list[tuple[FloatArray, Observation]]:
    """Let nothing command the arm for a while; return where it really is and what is sensed."""
    steps = [environment.reset(lift_scene())]
    places = [environment.table.joint_positions]
    for _ in range(3):
        steps.append(environment.step(None))
        places.append(environment.table.joint_positions)
    return [(place, step.observation) for place, step in zip(places, steps, strict=True)]


def test_physics_does_not_know_of_disturbances() -> None:
    names = ["noisy_joints", "noisy_imu", "late_joints"]
    disturbed = DisturbedEnvironment(find_disturbances(names), cameras=())
    plain = Environment(cameras=())
    for (here, seen), (there, _) in zip(sway(disturbed), sway(plain), strict=True):
        np.testing.assert_array_equal(here, there)
        assert not np.array_equal(seen.state, there.astype(np.float32))


def test_an_episode_is_disturbed_alike_whatever_was_played_before() -> None:
    environment = DisturbedEnvironment(
        find_disturbances(["noisy_joints", "noisy_imu", "late_imu"]), cameras=()
    )
    first = sway(environment)
    environment.reset(sample_scene(seed=SEED + 1))
    environment.step(None)
    for (_, before), (_, after) in zip(first, sway(environment), strict=True):
        assert different(before, after) == set()


def test_no_disturbance_changes_nothing() -> None:
    plain, none = Environment(cameras=()), DisturbedEnvironment((), cameras=())
    for (_, before), (_, after) in zip(sway(plain), sway(none), strict=True):
        assert different(before, after) == set()


@pytest.mark.parametrize("sensor", LOSABLE)
def test_a_lost_sensor_is_masked_whatever_stands_in_its_place(
    untrained_bundle: Path, sensor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros go into the graph where a sensor is missing; any other numbers must do as well."""
    plan = EvaluationPlan(disturb=(f"no_{sensor}",))
    (disturbance,) = plan.disturbances()
    (seen,) = disturb(disturbance, SEED, sequence(1))
    rng = np.random.default_rng(0)

    def garbage(
        value: NDArray[np.generic] | None, shape: tuple[int, ...], dtype: type, feature: str
    ) -> NDArray[np.generic]:
        del feature
        return rng.uniform(0, 200, (1, *shape)).astype(dtype) if value is None else value[None]

    chunks = []
    for stand_in in (None, garbage, garbage):
        if stand_in is not None:
            for module in ("camera_inputs", "bundle_policy"):
                monkeypatch.setattr(f"vla_ros.engine.{module}.checked", stand_in)
        policy = open_policy(untrained_bundle, plan.lost())
        policy.start("lift the red cube")
        chunks.append(policy.infer(seen).positions)
    np.testing.assert_allclose(chunks[0], chunks[1], atol=1e-6)
    np.testing.assert_allclose(chunks[0], chunks[2], atol=1e-6)


def test_an_unknown_disturbance_lists_those_there_are() -> None:
    with pytest.raises(UserError, match="disturb 'fog' does not exist; choose no_depth or no_imu"):
        EvaluationPlan(disturb=("fog",))
    with pytest.raises(UserError, match="disturb 'fog' does not exist; choose one of no_depth"):
        find_disturbances(["fog"])


def test_the_docs_say_of_every_disturbance_what_it_does() -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "robustness.md"
    rows = page.read_text(encoding="utf-8")
    missing = [
        name
        for name, disturbance in DISTURBANCES.items()
        if f"| `{name}` | {disturbance.effect} |" not in rows
    ]
    assert missing == []
