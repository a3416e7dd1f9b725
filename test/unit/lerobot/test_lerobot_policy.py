"""LeRobot checkpoints of the real classes: run through LeRobot, and refused where they do not fit.

Needs LeRobot (requirements/lerobot.txt) in an environment of its own.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import BundleError, ContractError, EngineError, UserError
from vla_ros.engine.opening import open_policy
from vla_ros.testing.observations import make_observation
from vla_ros.testing.optional_conformance import ClosableConformance, ReportingConformance
from vla_ros.testing.policy_conformance import PolicyConformance

pytest.importorskip("lerobot", reason="needs requirements/lerobot.txt")
torch = pytest.importorskip("torch")

from lerobot.policies.factory import get_policy_class, make_pre_post_processors  # noqa: E402

from vla_ros.engine.lerobot_policy import LeRobotPolicy  # noqa: E402
from vla_ros.testing.lerobot_checkpoints import (  # noqa: E402
    SMALL_ACT,
    SMALL_DIFFUSION,
    SMALL_SMOLVLA,
    write_checkpoint,
    write_small_vlm,
)

CONTRACT = load_contract("tabletop_sim")


@pytest.fixture(scope="session")
def act(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("act"), "act", CONTRACT, SMALL_ACT)


@pytest.fixture(scope="session")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diffusion")
    return write_checkpoint(folder, "diffusion", CONTRACT, SMALL_DIFFUSION)


@pytest.fixture(scope="session")
def smolvla(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smolvla")
    settings = {**SMALL_SMOLVLA, "vlm_model_name": str(write_small_vlm(folder / "vlm"))}
    return write_checkpoint(folder / "checkpoint", "smolvla", CONTRACT, settings)


class _Conformance(PolicyConformance, ReportingConformance, ClosableConformance):
    folder: Path

    def make_policy(self) -> Any:
        return LeRobotPolicy(str(self.folder), CONTRACT)

    def make_contract(self) -> RobotContract:
        return CONTRACT


class TestAct(_Conformance):
    @pytest.fixture(autouse=True)
    def _take(self, act: Path) -> None:
        self.folder = act


class TestSmolVla(_Conformance):
    @pytest.fixture(autouse=True)
    def _take(self, smolvla: Path) -> None:
        self.folder = smolvla


class TestDiffusion(_Conformance):
    @pytest.fixture(autouse=True)
    def _take(self, diffusion: Path) -> None:
        self.folder = diffusion


def test_the_chunk_is_what_lerobot_predicts_with_its_own_processors(act: Path) -> None:
    policy = LeRobotPolicy(str(act), CONTRACT)
    policy.start("lift the cube")
    observation = make_observation(CONTRACT)
    chunk = policy.infer(observation)
    theirs = get_policy_class("act").from_pretrained(act)
    before, behind = make_pre_post_processors(theirs.config, pretrained_path=str(act))
    batch: dict[str, Any] = {
        f"observation.images.{name}": torch.tensor(image).permute(2, 0, 1).float() / 255
        for name, image in observation.images.items()
    }
    batch |= {"observation.state": torch.tensor(observation.state), "task": "lift the cube"}
    expected = behind(theirs.predict_action_chunk(before(batch)))[0]
    np.testing.assert_allclose(chunk.positions, expected.numpy(), atol=1e-6)
    assert chunk.horizon == SMALL_ACT["chunk_size"]
    assert chunk.step_s == pytest.approx(1 / 30)


def test_a_policy_of_two_observations_gives_what_select_action_hands_out(diffusion: Path) -> None:
    policy = LeRobotPolicy(str(diffusion), CONTRACT)
    policy.start("lift the cube")
    first, second = (make_observation(CONTRACT, seed=seed) for seed in (0, 1))
    policy.infer(first)
    after_both = policy.infer(second).positions
    policy.start("lift the cube")
    policy.infer(second)
    assert np.abs(policy.infer(second).positions - after_both).max() > 1e-4
    assert len(after_both) == SMALL_DIFFUSION["n_action_steps"]


def test_the_dataset_beside_a_checkpoint_says_joints_and_rate(act: Path, tmp_path: Path) -> None:
    folder = _copied(act, tmp_path, joints=CONTRACT.action.joints)
    policy = LeRobotPolicy(str(folder), CONTRACT)
    policy.start("lift the cube")
    assert policy.infer(make_observation(CONTRACT)).step_s == pytest.approx(0.1)
    other = _copied(act, tmp_path, joints=CONTRACT.action.joints[::-1])
    with pytest.raises(ContractError, match=r"action: the policy moves .* and the order counts"):
        LeRobotPolicy(str(other), CONTRACT)


def _copied(act: Path, tmp_path: Path, joints: tuple[str, ...]) -> Path:
    folder = tmp_path / joints[0]
    (folder / "meta").mkdir(parents=True)
    for file in act.iterdir():
        (folder / file.name).symlink_to(file)
    about = {"fps": 10, "features": {"action": {"names": list(joints)}}}
    (folder / "meta" / "info.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def test_what_a_robot_lacks_or_has_otherwise_is_named(act: Path) -> None:
    kept = tuple(s for s in CONTRACT.observations if s.feature != "observation.images.wrist")
    front = replace(kept[0], width=64)
    action = replace(CONTRACT.action, joint_specs=CONTRACT.action.joint_specs[:-1])
    robot = replace(CONTRACT, observations=(front, *kept[1:]), action=action)
    with pytest.raises(ContractError) as caught:
        LeRobotPolicy(str(act), robot)
    said = str(caught.value)
    assert "observation.images.wrist: the policy takes it; the robot has" in said
    assert "observation.images.front: the policy takes" in said
    assert "and does not resize" in said
    assert "action: the policy has" in said
    assert "observation.state: the policy has" in said


def test_a_checkpoint_opens_as_lerobot_and_no_engine_claims_it(act: Path) -> None:
    policy, _ = open_policy(str(act), CONTRACT, backend="lerobot", threads=2)
    assert isinstance(policy, LeRobotPolicy)
    with pytest.raises(UserError, match="is a LeRobot checkpoint, which 'onnxruntime' cannot run"):
        open_policy(str(act), CONTRACT)
    with pytest.raises(EngineError, match="cannot take over from LeRobot"):
        open_policy(str(act), CONTRACT, backend="lerobot", fallback="onnxruntime")


def test_noise_is_drawn_anew_with_each_inference_and_leaves_torch_as_it_was(smolvla: Path) -> None:
    policy = LeRobotPolicy(str(smolvla), CONTRACT)
    policy.start("look")
    before = torch.get_rng_state()
    observation = make_observation(CONTRACT)
    first, second = (policy.infer(observation).positions for _ in range(2))
    assert np.abs(first - second).max() > 1e-4
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_without_its_weights_is_refused_and_named(act: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((act / "config.json").read_bytes())
    with pytest.raises(BundleError, match=rf"{tmp_path}: LeRobot .* cannot load it"):
        LeRobotPolicy(str(tmp_path), CONTRACT)
    (tmp_path / "config.json").write_text('{"type": "none_such"}', encoding="utf-8")
    with pytest.raises(BundleError, match="none_such"):
        LeRobotPolicy(str(tmp_path), CONTRACT)
