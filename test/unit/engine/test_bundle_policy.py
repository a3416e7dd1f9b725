"""The runner of bundles on ONNX Runtime: the protocol, what it refuses, what a mask means."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import (
    BundleError,
    ContractError,
    EngineError,
    InstructionRejected,
    ObservationError,
)
from vla_ros.core.protocols import Policy
from vla_ros.core.types import Observation
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Engine, Graph
from vla_ros.engine.timed_engine import EngineCall, TimedEngine
from vla_ros.policy.bundle import DESCRIPTION, GRAPH, GROUNDING
from vla_ros.testing.observations import make_observation
from vla_ros.testing.policy_conformance import PolicyConformance


class TestBundlePolicy(PolicyConformance):
    @pytest.fixture(autouse=True)
    def _take(self, untrained_bundle: Path) -> None:
        self.bundle = untrained_bundle

    def make_policy(self) -> Policy:
        return BundlePolicy(self.bundle)

    def make_contract(self) -> RobotContract:
        return load_contract("tabletop_sim")


@pytest.fixture
def policy(untrained_bundle: Path) -> BundlePolicy:
    policy = BundlePolicy(untrained_bundle, load_contract("tabletop_sim"))
    policy.start("lift the red cube")
    return policy


@pytest.fixture
def observation() -> Observation:
    return make_observation(load_contract("tabletop_sim"))


def test_before_an_instruction_there_is_no_chunk(
    untrained_bundle: Path, observation: Observation
) -> None:
    with pytest.raises(RuntimeError, match="start"):
        BundlePolicy(untrained_bundle).infer(observation)


@pytest.mark.parametrize("text", ["", "   ", "lift the red cube " * 500])
def test_an_instruction_no_policy_can_read_is_rejected(policy: BundlePolicy, text: str) -> None:
    with pytest.raises(InstructionRejected):
        policy.start(text)


def test_other_words_give_another_chunk(policy: BundlePolicy, observation: Observation) -> None:
    first = policy.infer(observation)
    policy.start("put the blue ball into the bowl")
    second = policy.infer(observation)
    assert np.abs(first.positions - second.positions).max() > 1e-4
    assert second.instruction == "put the blue ball into the bowl"


def test_velocity_comes_from_earlier_observations(
    policy: BundlePolicy, observation: Observation
) -> None:
    still = policy.infer(observation).positions
    policy.start("lift the red cube")
    before = replace(observation, stamp_ns=observation.stamp_ns - 50_000_000)
    policy.infer(replace(before, state=observation.state - np.float32(0.1)))
    policy.start("lift the red cube")
    assert np.abs(policy.infer(observation).positions - still).max() > 1e-4


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf, 0.0])
def test_holes_in_depth_are_all_the_same(
    policy: BundlePolicy, observation: Observation, hole: float
) -> None:
    def infer(value: float) -> np.ndarray:
        depths = {key: depth.copy() for key, depth in observation.depths.items()}
        for depth in depths.values():
            depth[20:40, 30:60] = value
        policy.start("lift the red cube")
        return policy.infer(replace(observation, depths=depths)).positions

    np.testing.assert_array_equal(infer(hole), infer(0.0))


@pytest.mark.parametrize(
    "cut",
    [
        lambda o: replace(o, imu=None),
        lambda o: replace(o, depths={}),
        lambda o: replace(o, depths={"front": o.depths["front"]}),
    ],
    ids=["imu", "depths", "wrist depth"],
)
def test_a_policy_acts_without_an_optional_sensor(
    policy: BundlePolicy, observation: Observation, cut: Callable[[Observation], Observation]
) -> None:
    assert np.isfinite(policy.infer(cut(observation)).positions).all()


def one_eyed(contract: RobotContract) -> RobotContract:
    """The contract of a robot whose wrist camera may be missing."""
    specs = tuple(
        replace(spec, required=False) if spec.camera == "wrist" else spec
        for spec in contract.observations
    )
    return replace(contract, observations=specs)


def test_the_robots_contract_decides_whether_a_camera_may_be_missing(
    untrained_bundle: Path, observation: Observation
) -> None:
    contract = load_contract("tabletop_sim")
    front = replace(
        observation,
        images={"front": observation.images["front"]},
        depths={"front": observation.depths["front"]},
    )
    strict, tolerant = (
        BundlePolicy(untrained_bundle, robot) for robot in (contract, one_eyed(contract))
    )
    strict.start("lift the red cube")
    tolerant.start("lift the red cube")
    with pytest.raises(ObservationError, match=r"images\.wrist: is missing, and the contract"):
        strict.infer(front)
    assert np.isfinite(tolerant.infer(front).positions).all()


def test_a_front_camera_that_comes_back_is_looked_through(
    untrained_bundle: Path, observation: Observation
) -> None:
    contract = load_contract("tabletop_sim")
    loose = tuple(
        replace(spec, required=False) if spec.camera == "front" else spec
        for spec in contract.observations
    )
    policy = BundlePolicy(untrained_bundle, replace(contract, observations=loose))
    blind = replace(
        observation,
        images={"wrist": observation.images["wrist"]},
        depths={"wrist": observation.depths["wrist"]},
    )
    policy.start("lift the red cube")
    for step in range(60):
        blind = replace(blind, stamp_ns=observation.stamp_ns + 50_000_000 * step)
        assert policy.infer(blind).grounding == 1.0, "it cannot tell"
    late = policy.infer(replace(observation, stamp_ns=blind.stamp_ns + 50_000_000))
    policy.start("lift the red cube")
    assert late.grounding == policy.infer(observation).grounding


@pytest.mark.parametrize(
    ("period_ms", "looks"), [(50, 40), (33.333333, 60), (20, 99), (100, 40), (200, 40)]
)
@pytest.mark.parametrize("began_ns", [0, 12_345_678_901])
def test_images_are_looked_at_for_two_seconds_and_at_20_hz_for_40_images(
    untrained_bundle: Path, observation: Observation, period_ms: float, looks: int, began_ns: int
) -> None:
    calls: list[EngineCall] = []

    def timed(graph: Graph, choice: EngineChoice) -> Engine:
        return TimedEngine(open_engine(graph, choice), calls)

    policy = BundlePolicy(untrained_bundle, open_graph=timed)
    policy.start("lift the red cube")
    for step in range(looks + 10):
        stamp_ns = began_ns + round(1e6 * period_ms * step) + step % 3 - 1
        policy.infer(replace(observation, stamp_ns=max(0, stamp_ns)))
        if policy.grounding is not None and policy.grounding.found:
            pytest.fail("with these weights nothing is found, or the count means nothing")
    assert sum(call.graph == GROUNDING for call in calls) == looks


def test_without_any_camera_there_is_no_chunk(
    untrained_bundle: Path, observation: Observation
) -> None:
    contract = load_contract("tabletop_sim")
    blind = tuple(replace(spec, required=False) for spec in contract.observations)
    policy = BundlePolicy(untrained_bundle, replace(contract, observations=blind))
    policy.start("lift the red cube")
    with pytest.raises(ObservationError, match="one camera at least"):
        policy.infer(replace(observation, images={}, depths={}))


def test_when_time_is_set_back_nothing_from_before_counts(
    policy: BundlePolicy, observation: Observation
) -> None:
    first = policy.infer(observation).positions
    policy.infer(replace(observation, stamp_ns=observation.stamp_ns + 10_000_000))
    policy.start("lift the red cube")
    np.testing.assert_array_equal(policy.infer(observation).positions, first)


@pytest.mark.parametrize(
    ("feature", "spoil"),
    [
        ("observation.imu", lambda o: replace(o, imu=o.imu * np.float32(np.nan))),
        ("observation.imu", lambda o: replace(o, imu=o.imu[:5])),
        (
            "observation.depth.front",
            lambda o: replace(o, depths={**o.depths, "front": o.depths["front"][:9]}),
        ),
        (
            "observation.images.wrist",
            lambda o: replace(o, images={**o.images, "wrist": o.images["wrist"].astype(float)}),
        ),
        ("observation.state", lambda o: replace(o, state=o.state[:5])),
    ],
)
def test_a_malformed_feature_is_named(
    policy: BundlePolicy,
    observation: Observation,
    feature: str,
    spoil: Callable[[Observation], Observation],
) -> None:
    with pytest.raises(ObservationError) as caught:
        policy.infer(spoil(observation))
    assert caught.value.source == feature


def test_attention_shows_where_each_camera_looked(
    policy: BundlePolicy, observation: Observation
) -> None:
    policy.infer(observation)
    assert set(policy.attention) == {"front", "wrist"}
    for heat in policy.attention.values():
        assert heat.shape == (2, 32, 32)
        assert (heat >= 0).all()
        assert (heat.sum((1, 2)) <= 1.0 + 1e-5).all()
    assert policy.points.shape == (2, 4)


def test_a_bundle_for_another_robot_is_refused(untrained_bundle: Path) -> None:
    contract = load_contract("tabletop_sim")
    specs = tuple(replace(spec, name=f"other_{spec.name}") for spec in contract.action.joint_specs)
    other = replace(contract, action=replace(contract.action, joint_specs=specs))
    with pytest.raises(ContractError, match="made for 'tabletop_sim' and cannot serve"):
        BundlePolicy(untrained_bundle, other)


def spoiled(untrained_bundle: Path, folder: Path, **changes: object) -> Path:
    copy = Path(shutil.copytree(untrained_bundle, folder / "copy"))
    data = json.loads((copy / DESCRIPTION).read_text())
    (copy / DESCRIPTION).write_text(json.dumps({**data, **changes}))
    return copy


def test_a_policy_section_that_is_none_is_refused(untrained_bundle: Path, tmp_path: Path) -> None:
    copy = spoiled(untrained_bundle, tmp_path, policy={"horizon": 3})
    with pytest.raises(BundleError, match=rf"{DESCRIPTION}: policy: "):
        BundlePolicy(copy)


def test_a_graph_that_is_none_is_refused_although_its_hash_fits(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(untrained_bundle, tmp_path / "copy"))
    (copy / GRAPH).write_bytes(b"no graph")
    data = json.loads((copy / DESCRIPTION).read_text())
    data["files"][GRAPH] = hashlib.sha256(b"no graph").hexdigest()
    (copy / DESCRIPTION).write_text(json.dumps(data))
    with pytest.raises(EngineError, match=f"{GRAPH}: ONNX Runtime cannot load it"):
        BundlePolicy(copy)


def test_a_file_without_a_hash_is_not_loaded(untrained_bundle: Path, tmp_path: Path) -> None:
    data = json.loads((untrained_bundle / DESCRIPTION).read_text())
    listed = {name: value for name, value in data["files"].items() if name != "language.onnx"}
    with pytest.raises(BundleError, match=r"has no language\.onnx"):
        BundlePolicy(spoiled(untrained_bundle, tmp_path, files=listed))
