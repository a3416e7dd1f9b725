"""CLIP, SigLIP and DINOv2 through `transformers`: architecture as plain data, weights apart.

A policy's configuration carries the architecture, so that a bundle or a checkpoint is read back
without the folder that the weights once came from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.core.errors import UserError
from vla_ros.policy.encoders.model_source import import_pretrained, load_model, read_config

SETTING = "image_weights"
#: Images are shown to the model at this size at most, or at its own if that is smaller [px].
LARGEST_SIDE = 224
#: What `config.json` holds beside the architecture.
_NOT_ARCHITECTURE = ("_name_or_path", "architectures", "dtype", "transformers_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionKind:
    """One kind of vision model.

    Attributes:
        model: Class in `transformers`; its configuration's is `config`.
        config: Likewise.
        mean: Of the colours it was trained on, 0 to 1; `std` likewise.
        std: Their standard deviation.
        without: Settings that leave out what patch tokens do not need.
    """

    model: str
    config: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    without: Mapping[str, Any]


_CLIP_COLOURS = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
_IMAGENET_COLOURS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

VISION_KINDS = {
    "clip_vision_model": VisionKind(
        model="CLIPVisionModel", config="CLIPVisionConfig", without={}, **_CLIP_COLOURS
    ),
    "siglip_vision_model": VisionKind(
        model="SiglipVisionModel",
        config="SiglipVisionConfig",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        without={"vision_use_head": False},
    ),
    "dinov2": VisionKind(
        model="Dinov2Model", config="Dinov2Config", without={}, **_IMAGENET_COLOURS
    ),
    "dinov2_with_registers": VisionKind(
        model="Dinov2WithRegistersModel",
        config="Dinov2WithRegistersConfig",
        without={},
        **_IMAGENET_COLOURS,
    ),
}
#: Models of images and texts, of which the half that sees is taken.
WHOLE_MODELS = {"clip": "CLIPConfig", "siglip": "SiglipConfig"}


def describe_vision(source: str) -> dict[str, Any]:
    """Return the architecture of the vision model at a path or hub id, as plain data.

    Raises:
        UserError: if there is none that can be read; names both sides.
    """
    found = read_config(source, SETTING, (*WHOLE_MODELS, *VISION_KINDS))
    transformers = import_pretrained("transformers")
    kind_name = found["model_type"]
    if kind_name in WHOLE_MODELS:
        config = getattr(transformers, WHOLE_MODELS[kind_name]).from_dict(found).vision_config
    else:
        config = getattr(transformers, VISION_KINDS[kind_name].config).from_dict(found)
    kind = VISION_KINDS[config.model_type]
    plain: dict[str, Any] = json.loads(json.dumps(config.to_diff_dict()))
    for key in _NOT_ARCHITECTURE:
        plain.pop(key, None)
    side = min(config.image_size, LARGEST_SIDE) // config.patch_size * config.patch_size
    plain |= {"model_type": config.model_type, "image_size": side, **kind.without}
    colours = _colours(source, transformers)
    return {
        "config": plain,
        "mean": list(colours.get("image_mean", kind.mean)),
        "std": list(colours.get("image_std", kind.std)),
    }


def build_vision(description: Mapping[str, Any]) -> nn.Module:
    """Return a vision model of an architecture, with random weights.

    Raises:
        UserError: if the description is of another kind of model.
    """
    plain = dict(description["config"])
    if plain.get("model_type") not in VISION_KINDS:
        raise UserError(
            f"image_model describes a model of kind {plain.get('model_type')!r}, and can be one "
            f"of {', '.join(VISION_KINDS)}"
        )
    kind = VISION_KINDS[plain["model_type"]]
    transformers = import_pretrained("transformers")
    model: nn.Module = getattr(transformers, kind.model)(
        getattr(transformers, kind.config).from_dict(plain)
    )
    if plain["model_type"] == "clip_vision_model":
        model.post_layernorm = nn.Identity()  # of the class token alone
    if hasattr(model.embeddings, "mask_token"):
        model.embeddings.mask_token = None  # of pretraining alone
    return model


def load_vision(model: nn.Module, description: Mapping[str, Any], source: str) -> None:
    """Fill a model made by `build_vision`, adapters or not, with the weights at a path or hub id.

    Position embeddings for another number of patches are resampled.

    Raises:
        UserError: if they are those of another architecture; names the first that differs.
    """
    found_kind = describe_vision(source)["config"]["model_type"]
    kind = description["config"]["model_type"]
    if found_kind != kind:
        raise UserError(
            f"{source}: holds a model of kind {found_kind!r}, and the policy was made for {kind!r}"
        )
    found = load_model(source, VISION_KINDS[kind].model, SETTING).state_dict()
    own = model.state_dict()
    for name, value in own.items():
        if "lora_" in name:
            continue
        published = found.get(name.replace(".base_layer", ""))
        if published is not None and "position_embedding" in name:
            published = _resample(published, value)
        if published is None or published.shape != value.shape:
            came = "none" if published is None else tuple(published.shape)
            raise UserError(
                f"{source}: is another model than the policy was made for: {name} has shape "
                f"{came}, expected {tuple(value.shape)}; make the policy's configuration anew"
            )
        own[name] = published
    model.load_state_dict(own)


def _resample(positions: Tensor, like: Tensor) -> Tensor:
    """Return position embeddings (..., N, W), a square of patches behind other tokens, resized."""
    count, wanted = positions.shape[-2], like.shape[-2]
    side, new_side = int(count**0.5), int(wanted**0.5)
    ahead = count - side * side
    if count == wanted or wanted - new_side * new_side != ahead:
        return positions
    flat = positions.reshape(count, -1)
    grid = flat[ahead:].T.reshape(1, -1, side, side)
    grid = functional.interpolate(
        grid, (new_side, new_side), mode="bicubic", antialias=True, align_corners=False
    )
    resized = torch.cat([flat[:ahead], grid.flatten(2)[0].T])
    return resized.reshape(*positions.shape[:-2], wanted, -1)


def _colours(source: str, transformers: Any) -> dict[str, Any]:
    """Return what preprocessor_config.json says, if there is one."""
    path = transformers.utils.cached_file(
        source,
        "preprocessor_config.json",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        return {}
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a str from transformers
        content: dict[str, Any] = json.load(file)
    return content
