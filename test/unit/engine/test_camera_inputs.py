"""From observation to network input: the same bits as the plain way, and no new arrays."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.types import Observation
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.camera_inputs import camera_inputs
from vla_ros.engine.fitted_policy import FittedPolicy, fit_observation
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.observation.images import fit_depth, fit_rgb, to_metres, without_holes
from vla_ros.policy.bundle import Bundle
from vla_ros.policy.configuration import CAMERAS, PolicyConfig
from vla_ros.testing.observations import make_observation

#: What a tick may hold at its most beside the arrays that are used again: small arrays, and Python
#: objects. One image of 128 x 128 px has 49 kB.
SMALL_BYTES = 32_768


@pytest.fixture(scope="module")
def config(untrained_bundle: Path) -> PolicyConfig:
    return PolicyConfig.from_dict(Bundle.open(untrained_bundle).policy)


@pytest.fixture
def observation() -> Observation:
    return make_observation(load_contract("tabletop_sim"))


def holed(depth: np.ndarray, *values: float) -> np.ndarray:
    found = depth.copy()
    for index, value in enumerate(values):
        found[3 * index : 3 * index + 3, 5:40] = value
    return found


def larger(observation: Observation) -> Observation:
    """The observation of cameras with 640 x 480 px."""
    rng = np.random.default_rng(1)
    shape = (480, 640)
    return replace(
        observation,
        images={c: rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for c in CAMERAS},
        depths={c: rng.uniform(0.2, 2.0, shape).astype(np.float32) for c in CAMERAS},
    )


SIZES = dict.fromkeys(CAMERAS, (128, 128))


@pytest.mark.parametrize(
    "holes", [(), (np.nan,), (np.inf, -np.inf), (0.0, -0.0), (-0.5, np.nan, 1e-42)]
)
def test_inputs_are_bit_for_bit_those_of_the_plain_way(
    config: PolicyConfig, observation: Observation, holes: tuple[float, ...]
) -> None:
    depths = {name: holed(depth, *holes) for name, depth in observation.depths.items()}
    seen = replace(observation, depths=depths)
    pool = ArrayPool()
    for _ in range(3):
        inputs = camera_inputs(config, seen, pool)
        for camera in CAMERAS:
            np.testing.assert_array_equal(inputs[f"rgb_{camera}"][0], seen.images[camera])
            plain = np.nan_to_num(seen.depths[camera][None], nan=0.0, posinf=0.0, neginf=0.0)
            found = inputs[f"depth_{camera}"]
            assert found.dtype == plain.dtype
            assert found.tobytes() == plain.tobytes()


def test_images_that_fit_go_to_the_network_without_a_copy(
    config: PolicyConfig, observation: Observation
) -> None:
    inputs = camera_inputs(config, observation, ArrayPool())
    for camera in CAMERAS:
        assert np.shares_memory(inputs[f"rgb_{camera}"], observation.images[camera])
        assert np.shares_memory(inputs[f"depth_{camera}"], observation.depths[camera])


def test_fitting_gives_the_same_bits_as_without_a_pool(observation: Observation) -> None:
    seen, pool = larger(observation), ArrayPool()
    for _ in range(3):
        fitted = fit_observation(seen, SIZES, pool)
        for camera in CAMERAS:
            np.testing.assert_array_equal(
                fitted.images[camera], fit_rgb(seen.images[camera], 128, 128)
            )
            np.testing.assert_array_equal(
                fitted.depths[camera], fit_depth(seen.depths[camera], 128, 128)
            )
    assert fit_rgb(seen.images["front"], 640, 480, pool) is seen.images["front"]


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("32FC1", np.full((4, 6), 0.5, np.float32)),
        ("32FC1", np.array([[0.5, np.nan, np.inf, -np.inf, -1.0, 0.0, -0.0, 2.0]], np.float32)),
        ("32FC1", np.array([[0.5, -1.0]], ">f4")),
        ("16UC1", np.array([[0, 1, 750, 65535]], np.uint16)),
        ("16UC1", np.array([[0, 1, 750, 65535]], ">u2")),
    ],
    ids=["clean", "holes", "big-endian", "millimetres", "big-endian millimetres"],
)
def test_metres_are_bit_for_bit_those_of_the_plain_way(encoding: str, pixels: np.ndarray) -> None:
    plain = pixels.astype(np.float32) * np.float32({"32FC1": 1.0, "16UC1": 0.001}[encoding])
    plain[~(np.isfinite(plain) & (plain > 0.0))] = 0.0
    pool = ArrayPool()
    for _ in range(3):
        found = to_metres(pixels, topic="/depth", encoding=encoding, pool=pool)
        assert found.dtype == np.float32
        assert found.tobytes() == plain.tobytes()


def test_clean_metres_are_the_messages_own_memory() -> None:
    pixels = np.full((4, 6), 0.5, np.float32)
    assert np.shares_memory(to_metres(pixels, topic="", encoding="32FC1"), pixels)
    assert without_holes(pixels, ArrayPool()) is pixels


def test_what_somebody_still_holds_is_never_written_over(
    config: PolicyConfig, observation: Observation
) -> None:
    """A recorder may keep observations, and what explains a chunk its inputs."""
    pool, kept = ArrayPool(), []
    for seed in range(12):
        seen = larger(make_observation(load_contract("tabletop_sim"), seed=seed))
        seen = replace(seen, depths={c: holed(d, np.nan) for c, d in seen.depths.items()})
        fitted = fit_observation(seen, SIZES, pool)
        inputs = camera_inputs(config, fitted, pool)
        kept.append((inputs, {name: value.copy() for name, value in inputs.items()}))
        kept[-1][0]["fitted"] = fitted.depths["front"]
        kept[-1][1]["fitted"] = fitted.depths["front"].copy()
    for held, copy in kept:
        for name, value in held.items():
            np.testing.assert_array_equal(value, copy[name], err_msg=name)


def steady_bytes(step: Callable[[], Any]) -> int:
    """Return the most bytes that a step holds beyond what was held before it."""
    for _ in range(5):
        step()
    tracemalloc.start()
    try:
        most = 0
        for _ in range(5):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            step()
            _, peak = tracemalloc.get_traced_memory()
            most = max(most, peak - before)
    finally:
        tracemalloc.stop()
    return most


def test_in_steady_state_no_array_is_allocated_on_the_way_to_the_network(
    untrained_bundle: Path,
) -> None:
    """Metres that have to be mended, images that have to be fitted: the most work there is."""
    policy = BundlePolicy(untrained_bundle)
    fitted = FittedPolicy(policy, SIZES)
    fitted.start("lift the red cube")
    base = larger(make_observation(load_contract("tabletop_sim")))
    base = replace(base, depths={c: holed(d, np.nan) for c, d in base.depths.items()})
    stamps = iter(range(base.stamp_ns, 2**62, 33_000_000))
    # the first images tell what the words mean, the others are only acted on
    for _ in range(70):
        fitted.infer(replace(base, stamp_ns=next(stamps)))
    pools = (fitted._pool, policy._pool)
    made = [pool.made for pool in pools]
    most = steady_bytes(lambda: fitted.infer(replace(base, stamp_ns=next(stamps))))
    assert [pool.made for pool in pools] == made, "arrays are used again"
    assert most < SMALL_BYTES, f"{most} bytes"


def test_the_bound_would_be_exceeded_by_one_image() -> None:
    def step() -> np.ndarray:
        return np.zeros((128, 128, 3), np.uint8)

    assert steady_bytes(step) > SMALL_BYTES
