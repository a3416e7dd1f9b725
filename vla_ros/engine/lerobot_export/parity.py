"""How far exported graphs are from what LeRobot itself computes, with the same noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vla_ros.contract.features import STATE
from vla_ros.core.errors import EngineError
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Engine, Graph
from vla_ros.engine.lerobot_checkpoint import LeRobotCheckpoint
from vla_ros.engine.lerobot_features import input_names
from vla_ros.engine.signature import Signature
from vla_ros.engine.signature_inputs import make_tokenizer, task_inputs
from vla_ros.engine.signature_policy import denoise, undo

#: Observations that are compared, and instructions of different lengths.
SEEDS = (0, 1, 2)
INSTRUCTIONS = ("go", "pick up the red cube", "put it back")


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """How far one tensor is from LeRobot's: the largest difference, and the largest value."""

    tensor: str
    largest: float
    scale: float


def compare(
    signature: Signature, reference: LeRobotCheckpoint, tolerance: float
) -> tuple[Apart, ...]:
    """Return how far each row of actions is from LeRobot's, the worst first.

    Raises:
        EngineError: if one is further than `tolerance` times the largest value, if that is above
            1; names it.
    """
    choice = EngineChoice(threads=2)
    engine = open_engine(Graph(path=signature.graph), choice)
    stage = signature.denoising
    denoiser = open_engine(Graph(path=stage.graph), choice) if stage else None
    errors, scale = [], 0.0
    for seed, instruction in zip(SEEDS, INSTRUCTIONS, strict=True):
        frame = _frame(reference, seed)
        noise = _noise(reference, seed) if denoiser else None
        expected = _theirs(reference, frame, instruction, noise)
        found = _ours(signature, engine, denoiser, reference, frame, instruction, noise)
        errors.append(np.abs(found[:, : expected.shape[1]] - expected))
        scale = max(scale, float(np.abs(expected).max()))
    engine.close()
    if denoiser is not None:
        denoiser.close()
    by_joint = np.max(errors, axis=(0, 1))
    names = signature.joints or tuple(map(str, range(len(by_joint))))
    apart = sorted(
        (
            Apart(tensor=f"{signature.action.tensor}[{name}]", largest=float(error), scale=scale)
            for name, error in zip(names, by_joint, strict=True)
        ),
        key=lambda each: -each.largest,
    )
    worst = apart[0]
    if not worst.largest <= tolerance * max(1.0, scale):  # NaN is no parity
        raise EngineError(
            f"{worst.tensor}: differs from what LeRobot computes by {worst.largest:.2g}, where "
            f"the largest value is {scale:.3g}; {tolerance:g} of that is tolerated. Nothing is "
            "written; run the checkpoint with --backend lerobot"
        )
    return tuple(apart)


def _frame(reference: LeRobotCheckpoint, seed: int) -> dict[str, NDArray[Any]]:
    """Return an observation by the robot's names: images (H, W, 3) of bytes, joint positions."""
    draw, names = np.random.default_rng(seed), input_names(reference)
    found: dict[str, NDArray[Any]] = {}
    for name, robot_name in names.items():
        shape = tuple(reference.config.input_features[name].shape)
        if len(shape) == 3:
            found[robot_name] = draw.integers(0, 256, (*shape[1:], 3), dtype=np.uint8)
        else:
            found[robot_name] = draw.normal(0.0, 0.5, shape).astype(np.float32)
    return found


def _noise(reference: LeRobotCheckpoint, seed: int) -> NDArray[np.float32]:
    config = reference.config
    shape = (1, config.chunk_size, config.max_action_dim)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def _theirs(
    reference: LeRobotCheckpoint,
    frame: dict[str, NDArray[Any]],
    instruction: str,
    noise: NDArray[np.float32] | None,
) -> NDArray[np.float64]:
    values: dict[str, Any] = {"task": instruction}
    for name, value in frame.items():
        tensor = torch.from_numpy(value)
        values[name] = tensor.permute(2, 0, 1).float() / 255 if value.ndim == 3 else tensor
    reference.policy.reset()
    given = {} if noise is None else {"noise": torch.from_numpy(noise)}
    with torch.inference_mode():
        batch = reference.preprocess(values)
        chunk = reference.postprocess(reference.policy.predict_action_chunk(batch, **given))
    return np.asarray(chunk[0].double().numpy())


def _ours(
    signature: Signature,
    engine: Engine,
    denoiser: Engine | None,
    reference: LeRobotCheckpoint,
    frame: dict[str, NDArray[Any]],
    instruction: str,
    noise: NDArray[np.float32] | None,
) -> NDArray[np.float64]:
    inputs: dict[str, Any] = {
        image.tensor: frame[image.feature][None] for image in signature.images
    }
    if signature.state is not None:
        inputs[signature.state.tensor] = frame[STATE][None]
    if signature.task is not None:
        inputs |= task_inputs(signature.task, make_tokenizer(signature.task), instruction)
    if signature.denoising is not None and denoiser is not None and noise is not None:
        found = denoise(denoiser, signature.denoising, engine.infer(inputs), noise)
    else:
        found = engine.infer(inputs, [signature.action.tensor])[signature.action.tensor]
    return undo(found[0].astype(np.float64), signature.action.normalization)
