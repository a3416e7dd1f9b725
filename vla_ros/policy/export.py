"""Write a policy as a bundle: safetensors, ONNX graph checked against torch, language encoder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vla_ros.core.errors import BundleError
from vla_ros.policy.bundle import GRAPH, LANGUAGE, TOKENIZER, WEIGHTS, Bundle, write_description
from vla_ros.policy.configuration import CAMERAS, MODALITIES, PolicyConfig
from vla_ros.policy.model import Inputs, Policy, merge_points

INPUT_NAMES = (
    "rgb_front",
    "depth_front",
    "rgb_wrist",
    "depth_wrist",
    "imu",
    "state",
    "language",
    "language_mask",
    "anchor",
    "present",
)
OUTPUT_NAMES = ("chunk", "progress", "points", "attention_front", "attention_wrist")
TOLERANCE = 1e-3


class Deployed(nn.Module):
    """The policy with flat inputs and outputs, as the graph has them."""

    def __init__(self, policy: Policy) -> None:
        """Wrap a trained policy."""
        super().__init__()
        self.policy = policy

    def forward(
        self,
        rgb_front: Tensor,
        depth_front: Tensor,
        rgb_wrist: Tensor,
        depth_wrist: Tensor,
        imu: Tensor,
        state: Tensor,
        language: Tensor,
        language_mask: Tensor,
        anchor: Tensor,
        present: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return `OUTPUT_NAMES`."""
        inputs = Inputs(
            rgb=(rgb_front, rgb_wrist),
            depth=(depth_front, depth_wrist),
            imu=imu,
            state=state,
            language=language,
            language_mask=language_mask,
            anchor=anchor,
            present=present,
        )
        action, points, sightings = self.policy(inputs)
        heat = [
            torch.softmax(sightings[camera].logits[:, :2], -1)[..., :-1].reshape(-1, 2, 32, 32)
            for camera in CAMERAS
        ]
        return action.chunk, torch.sigmoid(action.progress), merge_points(points), *heat


def example_inputs(config: PolicyConfig, seed: int = 0) -> tuple[Tensor, ...]:
    """Return random inputs (batch of one) in the order of `INPUT_NAMES`."""
    draw = torch.Generator().manual_seed(seed)
    images = []
    for camera in CAMERAS:
        size = config.cameras[camera]
        shape = (1, size.height, size.width)
        images.append(torch.randint(0, 256, (*shape, 3), generator=draw, dtype=torch.uint8))
        images.append(0.2 + 0.5 * torch.rand(shape, generator=draw))
    tokens = config.language_tokens
    mask = torch.zeros(1, tokens)
    mask[:, :9] = 1.0
    return (
        *images,
        torch.randn(1, config.imu_window, 6, generator=draw),
        0.3 * torch.randn(1, 3 * config.n_joints, generator=draw),
        torch.randn(1, tokens, config.language_features, generator=draw) * mask[..., None],
        mask,
        torch.rand(1, 2, 4, generator=draw) * 0.2,
        torch.ones(1, len(MODALITIES)),
    )


def save_pretrained(
    policy: Policy,
    directory: Path,
    *,
    name: str,
    contract: dict[str, Any],
    training: dict[str, Any],
    language: Path,
) -> Bundle:
    """Write a bundle that runs.

    Args:
        policy: What was trained.
        directory: Where to; made if it is not there.
        name: Of the policy.
        contract: Of the robot it was trained on, as plain values.
        training: What made it.
        language: Directory with the language encoder.

    Raises:
        BundleError: if the graph does not compute what the policy does.
    """
    directory.mkdir(parents=True, exist_ok=True)
    policy = policy.eval()
    weights = {key: value.contiguous() for key, value in policy.state_dict().items()}
    save_file(weights, directory / WEIGHTS)
    export_graph(policy, directory / GRAPH)
    for file in (LANGUAGE, TOKENIZER):
        if language.resolve() != directory.resolve():
            shutil.copyfile(language / file, directory / file)
    return write_description(
        directory,
        name=name,
        policy=policy.config.to_dict(),
        contract=contract,
        training=training,
        files=(WEIGHTS, GRAPH, LANGUAGE, TOKENIZER),
    )


def export_graph(policy: Policy, path: Path) -> None:
    """Write the ONNX graph and compare it with torch on random inputs.

    Raises:
        BundleError: if an output differs by more than `TOLERANCE`; names the worst.
    """
    deployed = Deployed(policy).eval()
    inputs = example_inputs(policy.config)
    program = torch.onnx.export(
        deployed,
        inputs,
        input_names=list(INPUT_NAMES),
        output_names=list(OUTPUT_NAMES),
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)
    _forget_origin(path)
    deployed.eval()  # the export restores the training flag of what it was given
    worst, error = parity(deployed, path, example_inputs(policy.config, seed=1))
    if not error <= TOLERANCE:
        raise BundleError(
            f"{path}: output {worst} differs from torch by {error:.2g}, at most {TOLERANCE} is "
            "allowed"
        )


def _forget_origin(path: Path) -> None:
    """Remove what torch notes in a graph: which line of which file every node comes from."""
    model = onnx.load(path)
    described = (model, model.graph, *model.graph.node, *model.graph.value_info)
    for part in (*described, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, path)


@torch.no_grad()
def parity(deployed: Deployed, path: Path, inputs: tuple[Tensor, ...]) -> tuple[str, float]:
    """Return the output that differs most between torch and the graph, and by how much."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {key: value.numpy() for key, value in zip(INPUT_NAMES, inputs, strict=True)}
    found = session.run(list(OUTPUT_NAMES), feed)
    expected = deployed(*inputs)
    errors = {
        key: float(np.abs(here - there.numpy()).max())
        for key, here, there in zip(OUTPUT_NAMES, found, expected, strict=True)
    }
    worst = max(errors, key=lambda key: errors[key])
    return worst, errors[worst]
