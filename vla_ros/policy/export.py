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
from vla_ros.policy.bundle import (
    GRAPH,
    GROUNDING,
    LANGUAGE,
    TOKENIZER,
    WEIGHTS,
    Bundle,
    write_description,
)
from vla_ros.policy.configuration import CAMERAS, MODALITIES, PolicyConfig
from vla_ros.policy.encoders import CloudBatch
from vla_ros.policy.grounding import DEMONSTRATIONS, Shown
from vla_ros.policy.language import SLOTS
from vla_ros.policy.model import Inputs, Policy, merge_points
from vla_ros.policy.regions import EMBEDDING

#: Of the graph that acts.
INPUT_NAMES = (
    "rgb_front",
    "depth_front",
    "rgb_wrist",
    "depth_wrist",
    "imu",
    "state",
    "slots",
    "queries",
    "anchor",
    "present",
)
#: Of the graph that acts, for a policy with the depth encoder `points`, behind the others.
CLOUD_INPUT_NAMES = ("cloud", "cloud_mask")
OUTPUT_NAMES = ("chunk", "progress", "points", "attention_front", "attention_wrist")
#: Of the graph that says what an instruction means in a scene.
GROUND_INPUT_NAMES = (
    "rgb_front",
    "depth_front",
    "language",
    "language_mask",
    "present",
    "shown",
    "shown_mask",
)
GROUND_OUTPUT_NAMES = (
    "slots",
    "queries",
    "score",
    "match",
    "pointers",
    "regions",
    "similarity",
    "embedding",
)
TOLERANCE = 1e-3


def graph_inputs(config: PolicyConfig) -> tuple[str, ...]:
    """Return the inputs of the graph that acts."""
    return INPUT_NAMES if config.cloud is None else INPUT_NAMES + CLOUD_INPUT_NAMES


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
        slots: Tensor,
        queries: Tensor,
        anchor: Tensor,
        present: Tensor,
        *cloud: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return `OUTPUT_NAMES`."""
        inputs = Inputs(
            rgb=(rgb_front, rgb_wrist),
            depth=(depth_front, depth_wrist),
            imu=imu,
            state=state,
            slots=slots,
            queries=queries,
            anchor=anchor,
            present=present,
            cloud=CloudBatch(*cloud) if cloud else None,
        )
        action, points, sightings = self.policy(inputs)
        heat = [
            torch.softmax(sightings[camera].logits[:, :2], -1)[..., :-1].reshape(-1, 2, 32, 32)
            for camera in CAMERAS
        ]
        return action.chunk, torch.sigmoid(action.progress), merge_points(points), *heat


class DeployedGrounding(nn.Module):
    """The grounding with flat inputs and outputs, as the graph has them."""

    def __init__(self, policy: Policy) -> None:
        """Wrap a trained policy."""
        super().__init__()
        self.policy = policy

    def forward(
        self,
        rgb_front: Tensor,
        depth_front: Tensor,
        language: Tensor,
        language_mask: Tensor,
        present: Tensor,
        shown: Tensor,
        shown_mask: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return `GROUND_OUTPUT_NAMES`."""
        things = self.policy.scan(rgb_front, depth_front, present)
        found = self.policy.ground(language, language_mask, things, Shown(shown, shown_mask))
        answer = found.answer
        regions = torch.cat([things.xyz, things.presence[..., None], things.pixel], -1)
        return (
            found.slots,
            found.queries,
            torch.sigmoid(answer.score),
            torch.sigmoid(answer.match),
            torch.softmax(answer.pointers, -1),
            regions,
            answer.similarity,
            things.embedding,
        )


def example_inputs(config: PolicyConfig, seed: int = 0) -> tuple[Tensor, ...]:
    """Return random inputs (batch of one) in the order of `graph_inputs`."""
    draw = torch.Generator().manual_seed(seed)
    images = []
    for camera in CAMERAS:
        size = config.cameras[camera]
        shape = (1, size.height, size.width)
        images.append(torch.randint(0, 256, (*shape, 3), generator=draw, dtype=torch.uint8))
        images.append(0.2 + 0.5 * torch.rand(shape, generator=draw))
    return (
        *images,
        torch.randn(1, config.imu_window, 6, generator=draw),
        0.3 * torch.randn(1, 3 * config.n_joints, generator=draw),
        torch.randn(1, len(SLOTS), config.width, generator=draw),
        torch.randn(1, 2, config.width, generator=draw),
        torch.rand(1, 2, 4, generator=draw) * 0.2,
        torch.ones(1, len(MODALITIES)),
        *_example_cloud(config, draw),
    )


def _example_cloud(config: PolicyConfig, draw: torch.Generator) -> tuple[Tensor, ...]:
    if config.cloud is None:
        return ()
    count = config.cloud.count
    return torch.rand(1, count, 6, generator=draw), (torch.arange(count)[None] < count / 2).float()


def example_ground_inputs(config: PolicyConfig, seed: int = 0) -> tuple[Tensor, ...]:
    """Return random inputs (batch of one) in the order of `GROUND_INPUT_NAMES`."""
    draw = torch.Generator().manual_seed(seed)
    tokens = config.language_tokens
    mask = torch.zeros(1, tokens)
    mask[:, :9] = 1.0
    words = torch.randn(1, tokens, config.language_features, generator=draw) * mask[..., None]
    images = example_inputs(config, seed)[:2]
    shown = torch.randn(1, DEMONSTRATIONS, EMBEDDING, generator=draw)
    there = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    return (*images, words, mask, torch.ones(1, len(MODALITIES)), shown, there)


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
    export_grounding(policy, directory / GROUNDING)
    for file in (LANGUAGE, TOKENIZER):
        if language.resolve() != directory.resolve():
            shutil.copyfile(language / file, directory / file)
    return write_description(
        directory,
        name=name,
        policy=policy.config.to_dict(),
        contract=contract,
        training=training,
        files=(WEIGHTS, GRAPH, GROUNDING, LANGUAGE, TOKENIZER),
    )


def export_graph(policy: Policy, path: Path) -> None:
    """Write the graph that acts and compare it with torch on random inputs.

    Raises:
        BundleError: if an output differs by more than `TOLERANCE`; names the worst.
    """
    examples = (example_inputs(policy.config), example_inputs(policy.config, seed=1))
    _export(Deployed(policy), path, graph_inputs(policy.config), OUTPUT_NAMES, *examples)


def export_grounding(policy: Policy, path: Path) -> None:
    """Write the graph that says what an instruction means, and compare it with torch.

    Raises:
        BundleError: if an output differs by more than `TOLERANCE`; names the worst.
    """
    examples = (example_ground_inputs(policy.config), example_ground_inputs(policy.config, seed=1))
    _export(DeployedGrounding(policy), path, GROUND_INPUT_NAMES, GROUND_OUTPUT_NAMES, *examples)


def _export(
    deployed: nn.Module,
    path: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    traced: tuple[Tensor, ...],
    compared: tuple[Tensor, ...],
) -> None:
    deployed.eval()
    program = torch.onnx.export(
        deployed,
        traced,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)
    _forget_origin(path)
    deployed.eval()  # the export restores the training flag of what it was given
    worst, error = parity(deployed, path, compared, inputs, outputs)
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
def parity(
    deployed: nn.Module,
    path: Path,
    inputs: tuple[Tensor, ...],
    input_names: tuple[str, ...] = INPUT_NAMES,
    output_names: tuple[str, ...] = OUTPUT_NAMES,
) -> tuple[str, float]:
    """Return the output that differs most between torch and the graph, and by how much."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {key: value.numpy() for key, value in zip(input_names, inputs, strict=True)}
    found = session.run(list(output_names), feed)
    expected = deployed(*inputs)
    errors = {
        key: float(np.abs(here - there.numpy()).max())
        for key, here, there in zip(output_names, found, expected, strict=True)
    }
    worst = max(errors, key=lambda key: errors[key])
    return worst, errors[worst]
