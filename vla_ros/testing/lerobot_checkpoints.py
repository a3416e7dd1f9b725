"""Small LeRobot checkpoints of the real classes with random weights, saved as LeRobot saves them.

Needs LeRobot. No weights are fetched: what a policy is built on (a vision-language model and its
tokenizer) is made beside the checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import (
    get_policy_class,
    make_policy_config,
    make_pre_post_processors,
)

from vla_ros.contract import FeatureKind, RobotContract

#: Small enough that a test takes seconds.
SMALL_ACT = {
    "chunk_size": 10,
    "n_action_steps": 10,
    "dim_model": 64,
    "n_heads": 4,
    "dim_feedforward": 128,
    "n_encoder_layers": 2,
    "n_vae_encoder_layers": 1,
    "latent_dim": 8,
    "pretrained_backbone_weights": None,
}
SMALL_DIFFUSION = {
    "horizon": 8,
    "n_action_steps": 4,
    "n_obs_steps": 2,
    "down_dims": (32, 64),
    "diffusion_step_embed_dim": 32,
    "spatial_softmax_num_keypoints": 8,
    "num_train_timesteps": 4,
    "crop_shape": None,
    "pretrained_backbone_weights": None,
}


def write_checkpoint(
    folder: Path, kind: str, contract: RobotContract, settings: dict[str, Any]
) -> Path:
    """Write a checkpoint of a policy that fits a robot, the same each time.

    Args:
        folder: Where to; made if it is not there.
        kind: LeRobot's name of the policy.
        contract: Of the robot: its cameras and joints are the policy's.
        settings: Of the policy's configuration.
    """
    torch.manual_seed(0)
    joints = len(contract.action.joints)
    inputs = {
        spec.feature: PolicyFeature(FeatureType.VISUAL, (3, spec.height, spec.width))
        for spec in contract.observations
        if spec.kind is FeatureKind.IMAGE
    }
    config = make_policy_config(
        kind,
        input_features={
            **inputs,
            "observation.state": PolicyFeature(FeatureType.STATE, (joints,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (joints,))},
        device="cpu",
        push_to_hub=False,
        **settings,
    )
    policy = get_policy_class(kind)(config).eval()
    processors = make_pre_post_processors(config, dataset_stats=_statistics(tuple(inputs), joints))
    for part in (policy, *processors):
        part.save_pretrained(folder)
    return folder


def _statistics(images: tuple[str, ...], joints: int) -> dict[str, dict[str, Any]]:
    draw = np.random.default_rng(0)

    def numbers(*shape: int) -> dict[str, Any]:
        mean, std = draw.normal(0.0, 0.4, shape), draw.uniform(0.2, 0.6, shape)
        low, high = mean - 2 * std, mean + 2 * std
        named = {"mean": mean, "std": std, "min": low, "max": high, "q01": low, "q99": high}
        return {name: torch.tensor(value, dtype=torch.float32) for name, value in named.items()}

    vectors = {name: numbers(joints) for name in ("observation.state", "action")}
    return vectors | {name: numbers(3, 1, 1) for name in images}
