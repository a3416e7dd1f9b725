"""The network: kinematics inside it, masks, and the exported graph against torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from vla_ros.core.kinematics import Chain
from vla_ros.core.resources import resource_path
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.learning.recipes import HAND, tabletop_small
from vla_ros.policy.bundle import GRAPH, GROUNDING, WEIGHTS
from vla_ros.policy.configuration import CAMERAS, MODALITIES, PolicyConfig
from vla_ros.policy.deployed import (
    GROUND_INPUT_NAMES,
    GROUND_OUTPUT_NAMES,
    INPUT_NAMES,
    Deployed,
    DeployedGrounding,
    example_ground_inputs,
    example_inputs,
)
from vla_ros.policy.export import TOLERANCE, parity
from vla_ros.policy.kinematics import ForwardKinematics
from vla_ros.policy.model import Policy
from vla_ros.policy.places import Points, merge_points
from vla_ros.sim.environment import Environment
from vla_ros.sim.model import robot_urdf
from vla_ros.sim.scenes import TEST_SEED, sample_scene

#: Inputs that must not matter when a modality is missing.
BEHIND = {
    "front": ("rgb_front", "depth_front"),
    "wrist": ("rgb_wrist", "depth_wrist"),
    "depth_front": ("depth_front",),
    "depth_wrist": ("depth_wrist",),
    "imu": ("imu",),
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def deployed() -> Deployed:
    torch.manual_seed(0)
    return Deployed(Policy(tabletop_small())).eval()


@pytest.fixture(scope="module")
def trained() -> Deployed:
    policy = Policy(tabletop_small())
    policy.load_state_dict(load_file(resource_path("models/tabletop-small") / WEIGHTS))
    return Deployed(policy).eval()


@torch.no_grad()
def run(deployed: Deployed, inputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
    outputs: tuple[Tensor, ...] = deployed(*(inputs[name] for name in INPUT_NAMES))
    return outputs


def named_inputs(seed: int = 0) -> dict[str, Tensor]:
    return dict(zip(INPUT_NAMES, example_inputs(tabletop_small(), seed), strict=True))


def test_the_networks_kinematics_are_the_cores() -> None:
    network = ForwardKinematics(tabletop_small().kinematics)
    hand = Chain.from_urdf(robot_urdf(), "base_link", HAND)
    tool = Chain.from_urdf(robot_urdf(), "base_link", "tcp")
    positions = np.random.default_rng(0).uniform(-1.5, 1.5, (50, 6))
    rotation, origin, tcp = network(torch.from_numpy(positions).float())
    for row, q in enumerate(positions):
        expected = hand.forward(q[: len(hand.names)])
        np.testing.assert_allclose(rotation[row], expected[:3, :3], atol=1e-5)
        np.testing.assert_allclose(origin[row], expected[:3, 3], atol=1e-5)
        np.testing.assert_allclose(tcp[row], tool.forward(q[:5])[:3, 3], atol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_masked_modality_cannot_change_the_action(deployed: Deployed, modality: str) -> None:
    first, other = named_inputs(0), named_inputs(1)
    first["present"][0, MODALITIES.index(modality)] = 0.0
    if modality in ("front", "wrist"):
        first["present"][0, MODALITIES.index(f"depth_{modality}")] = 0.0
    changed = first | {name: other[name] for name in BEHIND[modality]}
    chunk, progress, points = run(deployed, first)[:3]
    for before, after in zip((chunk, progress, points), run(deployed, changed)[:3], strict=True):
        assert torch.equal(before, after), "not a single bit"


def test_a_camera_that_is_missing_has_no_say_in_where_things_were() -> None:
    front = Points(torch.ones(1, 2, 3), torch.tensor([[0.9, 0.0]]))
    wrist = Points(torch.full((1, 2, 3), 7.0), torch.zeros(1, 2))
    merged = merge_points({"front": front, "wrist": wrist})
    assert torch.equal(merged[0, 0], torch.tensor([1.0, 1.0, 1.0, 0.9]))
    assert torch.equal(merged[0, 1], torch.zeros(4)), "nobody saw the target"


@pytest.fixture(scope="module")
def sensed() -> list[dict[str, Tensor]]:
    """What the robot senses with its hand on the way to something, in two scenes."""
    return [sense_on_the_way(seed) for seed in (0, 1)]


def sense_on_the_way(seed: int) -> dict[str, Tensor]:
    scene = sample_scene(seed=TEST_SEED + seed, split="seeds", skill="lift")
    bundle = resource_path("models/tabletop-small")
    environment, policy = Environment(), BundlePolicy(bundle)
    policy.start(scene.text)
    step = environment.reset(scene)
    for _ in range(12):
        step = environment.step(policy.infer(step.observation))
    environment.close()
    seen, found = step.observation, policy.grounding
    assert found is not None
    assert seen.command is not None
    assert seen.imu is not None
    state = np.concatenate([seen.state, np.zeros(6), seen.command - seen.state])
    arrays: dict[str, NDArray[np.generic]] = {
        **{f"rgb_{camera}": seen.images[camera] for camera in CAMERAS},
        **{f"depth_{camera}": seen.depths[camera] for camera in CAMERAS},
        "imu": seen.imu,
        "state": state.astype(np.float32),
        "slots": found.slots[0],
        "queries": found.queries[0],
        "anchor": np.zeros((2, 4), np.float32),
        "present": np.ones(len(MODALITIES), np.float32),
    }
    return {name: torch.from_numpy(array.copy())[None] for name, array in arrays.items()}


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_present_modality_does_change_the_action(
    trained: Deployed, sensed: list[dict[str, Tensor]], modality: str
) -> None:
    first, other = sensed
    changed = first | {name: other[name] for name in BEHIND[modality]}
    before, after = run(trained, first)[0], run(trained, changed)[0]
    assert (before - after).abs().max() > 1e-4


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_onnx_runtime_computes_what_torch_does(untrained_bundle: Path, seed: int) -> None:
    policy = Policy(tabletop_small())
    policy.load_state_dict(load_file(untrained_bundle / WEIGHTS))
    inputs = example_inputs(policy.config, seed)
    worst, error = parity(Deployed(policy).eval(), untrained_bundle / GRAPH, inputs)
    assert error <= TOLERANCE, worst


@torch.no_grad()
def test_words_that_are_padding_do_not_matter(deployed: Deployed) -> None:
    grounding = DeployedGrounding(deployed.policy).eval()
    names = GROUND_INPUT_NAMES
    first = dict(zip(names, example_ground_inputs(tabletop_small()), strict=True))
    padding = first["language_mask"][..., None] == 0
    changed = first | {"language": torch.where(padding, torch.tensor(9.0), first["language"])}
    outputs = [grounding(*(inputs[name] for name in names)) for inputs in (first, changed)]
    for before, after in zip(*outputs, strict=True):
        torch.testing.assert_close(before, after)


@pytest.mark.parametrize("seed", [2, 3])
def test_onnx_runtime_grounds_as_torch_does(untrained_bundle: Path, seed: int) -> None:
    policy = Policy(tabletop_small())
    policy.load_state_dict(load_file(untrained_bundle / WEIGHTS))
    worst, error = parity(
        DeployedGrounding(policy).eval(),
        untrained_bundle / GROUNDING,
        example_ground_inputs(policy.config, seed),
        GROUND_INPUT_NAMES,
        GROUND_OUTPUT_NAMES,
    )
    assert error <= TOLERANCE, worst


def test_the_camera_on_the_hand_moves_with_the_hand(deployed: Deployed) -> None:
    policy = deployed.policy
    state = torch.zeros(2, 18)
    state[1, 0] = 0.5
    _, wrist = policy.camera_pose("wrist", state)
    _, front = policy.camera_pose("front", state)
    assert (wrist[0] - wrist[1]).norm() > 0.05
    torch.testing.assert_close(front[0], front[1])


def test_a_configuration_survives_json() -> None:
    import json

    config = tabletop_small()
    assert PolicyConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_policy_is_small_enough_to_ship() -> None:
    parameters = sum(value.numel() for value in Policy(tabletop_small()).parameters())
    assert parameters < 5_000_000
