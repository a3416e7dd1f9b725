"""ONNX files with a declared signature: the protocol, and each way in which they cannot be run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import (
    BundleError,
    ContractError,
    InferenceFailed,
    InstructionRejected,
)
from vla_ros.core.protocols import Policy
from vla_ros.engine.opening import open_policy
from vla_ros.engine.signature import SIGNATURE
from vla_ros.engine.signature_policy import SignaturePolicy
from vla_ros.testing.observations import make_observation
from vla_ros.testing.optional_conformance import ClosableConformance, ReportingConformance
from vla_ros.testing.policy_conformance import PolicyConformance

CONTRACT = load_contract("tabletop_sim")
JOINTS = len(CONTRACT.action.joints)
ROWS, WORDS = 4, 6


def write_graph(path: Path, *, image: str = "uint8") -> None:
    """Write a graph: actions = state + the image's mean + the number of tokens, row by row."""
    spec = CONTRACT.observation("observation.images.front")
    kind = TensorProto.UINT8 if image == "uint8" else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["mask"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["tokens"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["counted", "numbers"], ["read"]),
        helper.make_node("ReduceSum", ["read", "last"], ["words"], keepdims=0),
        helper.make_node("Add", ["mean", "words"], ["seen"]),
        helper.make_node("Unsqueeze", ["seen", "last"], ["column"]),
        helper.make_node("Add", ["state", "column"], ["target"]),
        helper.make_node("Unsqueeze", ["target", "last"], ["row"]),
        helper.make_node("Add", ["row", "rows"], ["actions"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
        numpy_helper.from_array(np.array([1]), "last"),
        numpy_helper.from_array(np.zeros((1, ROWS, 1), np.float32), "rows"),
    ]
    shape = (spec.height, spec.width, 3) if image == "uint8" else (3, spec.height, spec.width)
    graph = helper.make_graph(
        nodes,
        "declared",
        [
            helper.make_tensor_value_info("image", kind, ["batch", *shape]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", JOINTS]),
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", WORDS]),
            helper.make_tensor_value_info("mask", TensorProto.BOOL, ["batch", WORDS]),
        ],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["batch", ROWS, JOINTS])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)


def declare(folder: Path) -> dict[str, Any]:
    """Return a signature of that graph."""
    spec = CONTRACT.observation("observation.images.front")
    return {
        "name": "declared",
        "graph": "policy.onnx",
        "step_s": 0.05,
        "joints": list(CONTRACT.action.joints),
        "inputs": {
            "observation.images.front": {
                "tensor": "image",
                "layout": "hwc",
                "dtype": "uint8",
                "size": [spec.height, spec.width],
            },
            "observation.state": {"tensor": "state"},
            "task": {
                "tensor": "tokens",
                "mask": "mask",
                "tokenizer": "tokenizer.json",
                "length": WORDS,
                "suffix": "\n",
            },
        },
        "outputs": {"action": {"tensor": "actions"}},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    words = ["[UNK]", "pick", "up", "the", "red", "cube"]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write_graph(tmp_path / "policy.onnx")
    write(tmp_path, lambda values: None)
    return tmp_path


def write(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write the signature with a change."""
    values = declare(folder)
    change(values)
    (folder / SIGNATURE).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


class TestSignaturePolicy(PolicyConformance, ReportingConformance, ClosableConformance):
    @pytest.fixture(autouse=True)
    def _take(self, folder: Path) -> None:
        self.folder = folder

    def make_policy(self) -> Any:
        return SignaturePolicy(self.folder, CONTRACT)

    def make_contract(self) -> RobotContract:
        return replace(
            CONTRACT,
            observations=tuple(
                spec
                for spec in CONTRACT.observations
                if spec.camera != "wrist"  # declared is the front camera only
            ),
        )


def started(folder: Path) -> Policy:
    policy, _ = open_policy(str(folder), CONTRACT)
    policy.start("pick up the red cube")
    return policy


def test_a_directory_with_a_signature_opens_on_the_engine_that_was_asked_for(folder: Path) -> None:
    policy, _ = open_policy(str(folder), CONTRACT, backend="onnxruntime", threads=2)
    assert isinstance(policy, SignaturePolicy)
    assert "onnxruntime" in policy.report_engines()[0].runs


def test_the_chunk_is_what_the_graph_computes_of_the_features(folder: Path) -> None:
    observation = make_observation(CONTRACT)
    chunk = started(folder).infer(observation)
    words = 1 + 2 + 3 + 4 + 5
    expected = observation.state + observation.images["front"].mean() + words
    np.testing.assert_allclose(chunk.positions, np.tile(expected, (ROWS, 1)), atol=1e-3)
    assert chunk.step_s == 0.05


def test_normalization_layout_and_relative_targets_are_done_outside_where_declared(
    folder: Path,
) -> None:
    write_graph(folder / "policy.onnx", image="float32")

    def change(values: dict[str, Any]) -> None:
        image = values["inputs"]["observation.images.front"]
        image |= {"dtype": "float32", "layout": "chw", "scale": 1 / 255}
        image |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
        values["outputs"]["action"] |= {
            "relative_to": "state",
            "mean": [1.0] * JOINTS,
            "std": [2.0] * JOINTS,
        }

    write(folder, change)
    observation = make_observation(CONTRACT)
    seen = (observation.images["front"].mean() / 255 - 0.5) / 0.25
    expected = (observation.state + seen + 15) * 2.0 + 1.0 + observation.state
    chunk = started(folder).infer(observation)
    np.testing.assert_allclose(chunk.positions[0], expected, atol=1e-3)


def test_without_a_step_the_first_camera_says_how_far_apart_rows_are(folder: Path) -> None:
    write(folder, lambda values: values.pop("step_s"))
    chunk = started(folder).infer(make_observation(CONTRACT))
    assert chunk.step_s == pytest.approx(1 / CONTRACT.observations[0].rate_hz)


def test_the_hash_changes_with_the_graph_and_with_the_declaration(folder: Path) -> None:
    before = SignaturePolicy(folder, CONTRACT).bundle_sha256
    write(folder, lambda values: values.update(step_s=0.1))
    other = SignaturePolicy(folder, CONTRACT).bundle_sha256
    model = onnx.load(folder / "policy.onnx")
    model.doc_string = "another"
    onnx.save(model, folder / "policy.onnx")
    assert len({before, other, SignaturePolicy(folder, CONTRACT).bundle_sha256}) == 3


IMAGE = "observation.images.front"


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda v: v.update(graph="none.onnx"), BundleError, r"graph: .*none\.onnx: no such file"),
        (lambda v: v.update(grpah=1), BundleError, "grpah: unknown key"),
        (lambda v: v["outputs"]["action"].update(tensor="actoins"), BundleError,
         r"policy\.onnx has no output 'actoins'; there are actions"),
        (lambda v: v["inputs"]["observation.state"].update(tensor="pose"), BundleError,
         "has no input 'pose'; there are image, state, tokens, mask"),
        (lambda v: v["inputs"].pop("observation.state"), BundleError,
         "input 'state' is not declared"),
        (lambda v: v["inputs"][IMAGE].update(layout="chw"), BundleError,
         r"input 'image' is uint8 of shape .* declared is uint8 of shape \(batch, 3,"),
        (lambda v: v["inputs"][IMAGE].update(dtype="float32"), BundleError,
         "'image' is uint8 .* declared is float32"),
        (lambda v: v["inputs"][IMAGE].update(scale=0.5), BundleError, "uint8 is given as it is"),
        (lambda v: v["inputs"]["task"].update(length=7), BundleError, r"declared is int64 .* 7\)"),
        (lambda v: v["inputs"][IMAGE].update(size=[8, 8]), ContractError,
         "takes 8x8 px, the robot has"),
        (lambda v: v["inputs"].update({"observation.images.top": v["inputs"].pop(IMAGE)}),
         ContractError, "observation.images.top: the robot has none; it has .*images.front"),
        (lambda v: v["joints"].reverse(), ContractError, "the order counts"),
        (lambda v: v["outputs"]["action"].update(mean=[0.0], std=[1.0]), ContractError,
         "action: 1 numbers normalize it"),
        (lambda v: v["outputs"]["action"].update(mean=[0.0]), BundleError, "go together"),
        (lambda v: v["inputs"].update({"observation.sound": {"tensor": "s"}}), BundleError,
         "observation.sound: expected observation.images"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_what_there_is(
    folder: Path, change: Callable[[dict[str, Any]], object], error: type[Exception], said: str
) -> None:
    write(folder, change)
    with pytest.raises(error, match=said):
        SignaturePolicy(folder, CONTRACT)


def test_an_instruction_of_too_many_words_is_refused_and_none_is_cut(folder: Path) -> None:
    with pytest.raises(InstructionRejected, match="7 word pieces; the policy reads 6"):
        started(folder).start("pick up the red cube up up")


def test_an_output_that_is_not_finite_is_no_chunk(folder: Path) -> None:
    write(
        folder, lambda v: v["outputs"]["action"].update(mean=[0.0] * JOINTS, std=[1e308] * JOINTS)
    )
    with pytest.raises(InferenceFailed, match="'actions' holds NaN or infinity"):
        started(folder).infer(make_observation(CONTRACT))
