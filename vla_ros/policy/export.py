"""Write a policy as a bundle: safetensors, ONNX graph checked against torch, language encoder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
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
from vla_ros.policy.deployed import (
    GROUND_INPUT_NAMES,
    GROUND_OUTPUT_NAMES,
    INPUT_NAMES,
    OUTPUT_NAMES,
    Deployed,
    DeployedGrounding,
    example_ground_inputs,
    example_inputs,
    front_alone,
    graph_inputs,
)
from vla_ros.policy.graph_origin import forget_origin
from vla_ros.policy.model import Policy
from vla_ros.policy.unsupported import explain_unsupported

#: How far an output of a graph may be from that of torch, as a share of its largest value if that
#: is above 1.
TOLERANCE = 1e-4
#: Name of the graphs' first dimension, and the most robots that one inference serves.
BATCH, MOST_AT_ONCE = "batch", 256
#: Rows of the batch that is traced; 1 and 2 would be taken for sizes that are meant.
TRACED = 3


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
    names = graph_inputs(policy.config)
    traced, whole, other = (example_inputs(policy.config, seed) for seed in (0, 1, 2))
    compared = (whole, front_alone(other, names))
    _export(Deployed(policy), path, names, OUTPUT_NAMES, traced, compared)


def export_grounding(policy: Policy, path: Path) -> None:
    """Write the graph that says what an instruction means, and compare it with torch.

    Raises:
        BundleError: if an output differs by more than `TOLERANCE`; names the worst.
    """
    names = GROUND_INPUT_NAMES
    traced, whole, other = (example_ground_inputs(policy.config, seed) for seed in (0, 1, 2))
    compared = (whole, front_alone(other, names))
    _export(DeployedGrounding(policy), path, names, GROUND_OUTPUT_NAMES, traced, compared)


def _export(
    deployed: nn.Module,
    path: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    traced: tuple[Tensor, ...],
    compared: Sequence[tuple[Tensor, ...]],
) -> None:
    deployed.eval()
    batch = torch.export.Dim(BATCH, min=1, max=MOST_AT_ONCE)
    try:
        program = torch.onnx.export(
            deployed,
            kwargs={
                name: each.repeat(TRACED, *[1] * (each.ndim - 1))
                for name, each in zip(inputs, traced, strict=True)
            },
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {0: batch} for name in inputs},
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as failure:
        reason = explain_unsupported(failure, deployed.eval(), traced)
        raise BundleError(
            f"{path}: cannot be made: {reason}; write that module in other operators"
        ) from failure
    assert program is not None
    program.save(str(path), external_data=False)
    graph = onnx.load(path)
    forget_origin(graph)
    onnx.save(graph, path)
    deployed.eval()  # the export restores the training flag of what it was given
    for example in compared:
        worst, error = parity(deployed, path, example, inputs, outputs)
        if not error <= TOLERANCE:
            raise BundleError(
                f"{path}: output {worst} differs from torch by {error:.2g}, at most {TOLERANCE} "
                "is allowed"
            )


@torch.no_grad()
def parity(
    deployed: nn.Module,
    path: Path,
    inputs: tuple[Tensor, ...],
    input_names: tuple[str, ...] = INPUT_NAMES,
    output_names: tuple[str, ...] = OUTPUT_NAMES,
) -> tuple[str, float]:
    """Return the output that differs most between torch and the graph, and by how much.

    Differences are shares of the output's largest value, if that is above 1: pixels are large.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {key: value.numpy() for key, value in zip(input_names, inputs, strict=True)}
    found = session.run(list(output_names), feed)
    expected = deployed(**dict(zip(input_names, inputs, strict=True)))
    errors = {
        key: float(np.abs(here - there.numpy()).max()) / max(1.0, float(there.abs().max()))
        for key, here, there in zip(output_names, found, expected, strict=True)
    }
    worst = max(errors, key=lambda key: errors[key])
    return worst, errors[worst]
