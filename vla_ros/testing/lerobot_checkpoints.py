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
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    PreTrainedTokenizerFast,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from vla_ros.contract import FeatureKind, RobotContract

#: Tokens of the tiny language model; what comes first has a meaning for SmolVLM.
SPECIAL = {
    "fake_image_token": "<fake_token_around_image>",
    "image_token": "<image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}
NEWLINE = "<newline>"
VOCABULARY = (
    "<unk>",
    "<pad>",
    *SPECIAL.values(),
    NEWLINE,
    "look",
    "go",
    "pick",
    "put",
    "up",
    "the",
    "red",
    "cube",
)
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


#: SmolVLA with a vision-language model of two layers.
SMALL_SMOLVLA = {
    "chunk_size": 6,
    "n_action_steps": 6,
    "max_state_dim": 8,
    "max_action_dim": 8,
    "resize_imgs_with_padding": (64, 64),
    "tokenizer_max_length": 12,
    "num_steps": 4,
    "num_vlm_layers": 2,
    "load_vlm_weights": False,
}


def write_small_vlm(folder: Path) -> Path:
    """Write configuration, tokenizer and image processor of a tiny SmolVLM; no weights."""
    words = {word: number for number, word in enumerate(VOCABULARY)}
    model = Tokenizer(WordLevel(words, unk_token="<unk>"))
    model.normalizer = Replace("\n", f" {NEWLINE}")
    model.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<end_of_utterance>",
        extra_special_tokens=SPECIAL,
    )
    images = SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 64})
    SmolVLMProcessor(images, tokenizer, SmolVLMVideoProcessor()).save_pretrained(folder)
    text = {
        "model_type": "llama",
        "vocab_size": len(VOCABULARY),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "pad_token_id": 1,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
    }
    config = SmolVLMConfig(
        text_config=text, vision_config=vision, scale_factor=2, image_token_id=3, pad_token_id=1
    )
    config.save_pretrained(folder)
    return folder
