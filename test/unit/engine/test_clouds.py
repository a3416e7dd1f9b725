"""Policies that read points: their graph's inputs, and what is said where Open3D is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_ros.contract import load_contract
from vla_ros.core.errors import BundleError, UserError
from vla_ros.core.types import Observation
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.clouds import cloud_inputs, cloud_maker
from vla_ros.learning.recipes import tabletop_small
from vla_ros.observation.points import Cloud
from vla_ros.policy.configuration import CloudConfig, PolicyConfig
from vla_ros.policy.export import save_pretrained
from vla_ros.policy.model import Policy
from vla_ros.testing.observations import make_observation


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config() -> PolicyConfig:
    cloud = CloudConfig(lower=(-0.1, -0.4, -0.5), upper=(0.9, 0.4, 0.8), count=64)
    return replace(tabletop_small(), depth_encoder="points", cloud=cloud)


@pytest.fixture(scope="module")
def bundle(
    config: PolicyConfig, language_files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A policy with random weights that reads points."""
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("bundle") / "points"
    save_pretrained(
        Policy(config),
        directory,
        name="points",
        contract=load_contract("tabletop_sim").to_dict(),
        training={},
        language=language_files,
    )
    return directory


@pytest.fixture
def observation() -> Observation:
    return make_observation(load_contract("tabletop_sim"))


def chunk_of(bundle: Path, observation: Observation) -> np.ndarray:
    policy = BundlePolicy(bundle)
    policy.start("lift the red cube")
    return policy.infer(observation).positions


def test_a_policy_that_reads_no_points_makes_none() -> None:
    assert cloud_maker(tabletop_small()) is None
    assert cloud_inputs(None, {}) == {}


def test_a_configuration_that_does_not_say_which_points_is_refused(config: PolicyConfig) -> None:
    with pytest.raises(BundleError, match="'points', and cloud does not say which are read"):
        cloud_maker(replace(config, cloud=None))


def test_without_open3d_a_bundle_that_reads_points_is_not_opened(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(UserError, match=r"Open3D, which cannot be .*-r requirements/points\.txt"):
        BundlePolicy(bundle)


def test_the_points_of_the_front_camera_reach_the_graph(
    bundle: Path, observation: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def make(config: PolicyConfig) -> object:
        def read(rgb: np.ndarray, depth: np.ndarray) -> Cloud:
            seen.append((rgb, depth))
            assert config.cloud is not None
            rows = np.random.default_rng(len(seen)).random((config.cloud.count, 6))
            return Cloud(points=rows.astype(np.float32), mask=np.ones(len(rows), np.bool_))

        return read

    monkeypatch.setattr("vla_ros.engine.bundle_policy.cloud_maker", make)
    first, second = (chunk_of(bundle, observation) for _ in range(2))
    assert np.array_equal(seen[0][0], observation.images["front"])
    assert np.array_equal(seen[0][1], observation.depths["front"])
    assert np.abs(first - second).max() > 1e-5, "other points, another action"
    blind = replace(observation, depths={})
    first, second = (chunk_of(bundle, blind) for _ in range(2))
    assert np.array_equal(first, second), "points of no depth count for nothing"


def test_a_policy_runs_on_points_that_open3d_makes(
    bundle: Path, config: PolicyConfig, observation: Observation
) -> None:
    pytest.importorskip("open3d")  # of requirements/points.txt, which `make test-all` installs
    make = cloud_maker(config)
    assert make is not None
    cloud = make(observation.images["front"], observation.depths["front"])
    assert cloud.mask.all()
    assert np.isfinite(chunk_of(bundle, observation)).all()
    without = replace(observation, depths={"wrist": observation.depths["wrist"]})
    assert np.abs(chunk_of(bundle, observation) - chunk_of(bundle, without)).max() > 1e-5
