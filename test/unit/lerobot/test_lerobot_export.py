"""LeRobot checkpoints as graphs: they compute what LeRobot does, or nothing is written.

Needs LeRobot (requirements/lerobot.txt) in an environment of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import EngineError, UserError
from vla_ros.core.protocols import Policy
from vla_ros.engine.choice import EngineChoice
from vla_ros.engine.opening import open_policy
from vla_ros.engine.signature import SIGNATURE
from vla_ros.engine.signature_policy import SignaturePolicy
from vla_ros.engine.signature_reading import read_signature
from vla_ros.testing.observations import make_observation
from vla_ros.testing.policy_conformance import PolicyConformance

pytest.importorskip("lerobot", reason="needs requirements/lerobot.txt")
torch = pytest.importorskip("torch")

from vla_ros.cli.lerobot_export import export_checkpoint, is_lerobot  # noqa: E402
from vla_ros.engine.lerobot_checkpoint import load_checkpoint  # noqa: E402
from vla_ros.engine.lerobot_export import export_lerobot  # noqa: E402
from vla_ros.engine.lerobot_export.affine import probe  # noqa: E402
from vla_ros.engine.lerobot_export.parity import compare  # noqa: E402
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
    folder = write_checkpoint(tmp_path_factory.mktemp("act"), "act", CONTRACT, SMALL_ACT)
    about = {"fps": 10, "features": {"action": {"names": list(CONTRACT.action.joints)}}}
    (folder / "meta").mkdir()
    (folder / "meta" / "info.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def exported_act(act: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exported") / "act"
    export_lerobot(str(act), output)
    return output


@pytest.fixture(scope="session")
def smolvla(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smolvla")
    settings = {**SMALL_SMOLVLA, "vlm_model_name": str(write_small_vlm(folder / "vlm"))}
    return write_checkpoint(folder / "checkpoint", "smolvla", CONTRACT, settings)


@pytest.fixture(scope="session")
def exported_smolvla(smolvla: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exported") / "smolvla"
    export_lerobot(str(smolvla), output)
    return output


class TestExportedAct(PolicyConformance):
    @pytest.fixture(autouse=True)
    def _take(self, exported_act: Path) -> None:
        self.folder = exported_act

    def make_policy(self) -> Policy:
        return SignaturePolicy(self.folder, CONTRACT)

    def make_contract(self) -> RobotContract:
        return CONTRACT


class TestExportedSmolVla(PolicyConformance):
    instruction = "pick up the red cube"

    @pytest.fixture(autouse=True)
    def _take(self, exported_smolvla: Path) -> None:
        self.folder = exported_smolvla

    def make_policy(self) -> Policy:
        return SignaturePolicy(self.folder, CONTRACT)

    def make_contract(self) -> RobotContract:
        return CONTRACT


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_exported_act_gives_the_chunk_that_lerobot_gives(
    act: Path, exported_act: Path, backend: str
) -> None:
    pytest.importorskip(backend)
    theirs = LeRobotPolicy(str(act), CONTRACT)
    ours, _ = open_policy(str(exported_act), CONTRACT, backend=backend, threads=2)
    observation = make_observation(CONTRACT, seed=7)
    for policy in (theirs, ours):
        policy.start("pick up the red cube")
    expected = theirs.infer(observation)
    found = ours.infer(observation)
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-4)
    assert found.step_s == pytest.approx(expected.step_s)


def test_smolvla_becomes_a_prefix_and_a_denoising_step_with_the_same_actions(
    smolvla: Path, exported_smolvla: Path
) -> None:
    signature = read_signature(exported_smolvla)
    assert signature.denoising is not None
    assert signature.denoising.steps == SMALL_SMOLVLA["num_steps"]
    prefix, step = (
        {each.name for each in onnx.load(graph, load_external_data=False).graph.input}
        for graph in (signature.graph, signature.denoising.graph)
    )
    assert {"image_front", "image_wrist", "state", "tokens"} <= prefix
    assert {"noisy", "time", "keys_0", "values_1"} <= step
    assert not step & {"image_front", "tokens", "state"}, "what is seen is encoded once"
    reference = load_checkpoint(str(smolvla), device="cpu")
    apart = compare(signature, reference, 1e-4)
    assert apart[0].largest <= 1e-4 * max(1.0, apart[0].scale)
    assert signature.task is not None
    assert signature.task.suffix == "\n"


def test_the_first_graph_serves_several_robots_at_once(exported_act: Path) -> None:
    from vla_ros.engine.choice import open_engine
    from vla_ros.engine.engine import EngineOptions, Graph

    engine = open_engine(
        Graph(path=exported_act / "policy.onnx"), EngineChoice(), EngineOptions(batch=2)
    )
    both = [make_observation(CONTRACT, seed=seed) for seed in (0, 1)]
    inputs: dict[str, Any] = {
        f"image_{name}": np.stack([each.images[name] for each in both])
        for name in ("front", "wrist")
    }
    inputs["state"] = np.stack([each.state for each in both])
    found = engine.infer(inputs)["actions"]
    policy = SignaturePolicy(exported_act, CONTRACT)
    policy.start("go")
    for row, observation in zip(found, both, strict=True):
        np.testing.assert_allclose(row, policy.infer(observation).positions, atol=1e-4)


def test_graphs_that_are_not_what_lerobot_computes_are_refused_with_the_worst_joint(
    act: Path, exported_act: Path, tmp_path: Path
) -> None:
    graph = onnx.load(exported_act / "policy.onnx")
    last = next(node for node in graph.graph.node if "actions" in node.output)
    last.output[list(last.output).index("actions")] = "right"
    wrong = np.zeros(len(CONTRACT.action.joints), np.float32)
    wrong[3] = 0.01
    graph.graph.initializer.append(numpy_helper.from_array(wrong, "wrong"))
    graph.graph.node.append(onnx.helper.make_node("Add", ["right", "wrong"], ["actions"]))
    onnx.save(graph, tmp_path / "policy.onnx")
    (tmp_path / SIGNATURE).write_bytes((exported_act / SIGNATURE).read_bytes())
    reference = load_checkpoint(str(act), device="cpu")
    joint = CONTRACT.action.joints[3]
    with pytest.raises(
        EngineError, match=rf"actions\[{joint}\]: differs from what LeRobot computes"
    ):
        compare(read_signature(tmp_path), reference, 1e-4)


def test_a_kind_that_is_not_exported_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "in", "diffusion", CONTRACT, SMALL_DIFFUSION)
    with pytest.raises(EngineError, match=r"'diffusion' are not exported, only act, smolvla"):
        export_lerobot(str(source), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_what_is_there_already_is_not_overwritten(act: Path, exported_act: Path) -> None:
    with pytest.raises(UserError, match="is there and not empty"):
        export_lerobot(str(act), exported_act)


def test_the_command_knows_checkpoints_and_offers_fp32_only(act: Path, tmp_path: Path) -> None:
    assert is_lerobot(act)
    assert is_lerobot(Path("somebody/act_so101"))
    assert not is_lerobot(Path("runs/checkpoint.pt"))
    with pytest.raises(UserError, match="LeRobot checkpoints become ONNX in fp32"):
        export_checkpoint(act, tmp_path / "out", target="onnx", precision="int8")


@pytest.mark.parametrize(
    "process",
    [
        lambda value: value**2,
        lambda value: value.flip(0),
        lambda value: value + value.sum(),
    ],
)
def test_a_processor_that_does_more_than_scale_and_shift_is_refused(
    process: Callable[[Any], Any],
) -> None:
    def ranked(value: Any) -> Any:
        return process(value + torch.arange(3.0, dtype=torch.float64))

    with pytest.raises(EngineError, match=r"observation\.state: .* cannot be put into a graph"):
        probe(ranked, (3,), "observation.state")


def test_the_signature_says_what_the_dataset_says(exported_act: Path) -> None:
    values = yaml.safe_load((exported_act / SIGNATURE).read_text(encoding="utf-8"))
    assert values["step_s"] == 0.1
    assert values["joints"] == list(CONTRACT.action.joints)
    assert list(values["inputs"]) == [
        "observation.images.front",
        "observation.images.wrist",
        "observation.state",
    ]
