"""Image encoder `pretrained`: a CLIP, SigLIP or DINOv2 vision model, frozen or tuned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.core.errors import UserError
from vla_ros.policy.configuration import CameraGeometry, PolicyConfig
from vla_ros.policy.encoders.image import CELLS, ImageEncoder
from vla_ros.policy.encoders.model_source import import_pretrained
from vla_ros.policy.encoders.vision_models import build_vision, load_vision

TUNINGS = ("frozen", "lora", "full")
#: Rank of the adapters, and what they adapt: the queries and values of every attention.
LORA_RANK, LORA_TARGETS = 8, ["q_proj", "v_proj"]
#: Channels of the convolution that reads depth and rays.
PLACE_CHANNELS = 16


class PretrainedImageEncoder(ImageEncoder):
    """Patch tokens of a pretrained vision model, resized to the cells and joined with depth.

    CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023) or DINOv2 (Oquab et al. 2024), taken as
    published. `frozen` trains what comes behind it alone; `lora` adds low-rank adapters (Hu et al.
    2022) to its attention; `full` trains all of it. It has no weights before `load_weights`, or
    before a checkpoint or bundle is read.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: PolicyConfig, camera: CameraGeometry) -> None:
        """Build the architecture that `config.image_model` describes.

        Raises:
            UserError: if it describes none, or if there is no such way to tune it.
        """
        super().__init__()
        del camera
        if config.image_model is None:
            raise UserError(
                f"image_encoder 'pretrained' with image_weights {config.image_weights!r} lacks "
                "image_model, the architecture of those weights; "
                "vla_ros.learning.encoder_choice.with_encoders fills it in"
            )
        self._description, self._tuning = config.image_model, config.image_tuning
        self._side = int(config.image_model["config"]["image_size"])
        self.backbone = build_vision(config.image_model)
        _tune(self.backbone, config.image_tuning)
        hidden = int(config.image_model["config"]["hidden_size"])
        width = config.vision_width
        self.norm = nn.LayerNorm(hidden)
        self.project = nn.Linear(hidden, width)
        self.place = nn.Sequential(nn.Conv2d(4, PLACE_CHANNELS, 3, padding=1), nn.ReLU())
        self.join = nn.Conv2d(width + PLACE_CHANNELS, width, 3, padding=1)
        for name in ("mean", "std"):
            values = torch.tensor(config.image_model[name]).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def load_weights(self, source: str) -> None:
        """Take the pretrained weights at a path or hub id.

        Raises:
            UserError: if there are none, or of another architecture; names both sides.
        """
        load_vision(self.backbone, self._description, source)

    def forward(self, stack: Tensor) -> Tensor:
        """Return the cells' features (B, C, 32, 32) of a stack (B, 7, H, W)."""
        tokens = self.project(self.norm(self._patches(stack[:, :3])))  # (B, N, C)
        grid = int(tokens.shape[1] ** 0.5)
        cells = tokens.transpose(1, 2).unflatten(2, (grid, grid))
        cells = functional.interpolate(cells, (CELLS, CELLS), mode="bilinear")
        place = self.place(functional.avg_pool2d(stack[:, 3:], stack.shape[-1] // CELLS))
        joined: Tensor = self.join(torch.cat([cells, place], 1))
        return joined

    def _patches(self, colour: Tensor) -> Tensor:
        """Return the features (B, N, hidden) of the patches of colours (B, 3, H, W), -1 to 1."""
        pixels = ((colour + 1) / 2 - self.mean) / self.std
        pixels = functional.interpolate(pixels, (self._side, self._side), mode="bilinear")
        tokens: Tensor = self.backbone(pixel_values=pixels).last_hidden_state
        side = self._side // int(self._description["config"]["patch_size"])
        return tokens[:, tokens.shape[1] - side * side :]  # behind class and register tokens

    def train(self, mode: bool = True) -> PretrainedImageEncoder:
        """Set training mode, from which a model that is not fully tuned is kept."""
        super().train(mode)
        if self._tuning != "full":
            self.backbone.eval()
        return self


def load_image_weights(policy: nn.Module, source: str) -> None:
    """Load the weights at a path or hub id into every pretrained image encoder of a policy.

    Raises:
        UserError: if there are none, or of another architecture; names both sides.
    """
    for module in policy.modules():
        if isinstance(module, PretrainedImageEncoder):
            module.load_weights(source)


def require_tuning(name: str) -> None:
    """Refuse a way to tune that does not exist.

    Raises:
        UserError: listing those there are.
    """
    if name not in TUNINGS:
        raise UserError(
            f"image_tuning {name!r} does not exist; choose one of {', '.join(TUNINGS)}"
        )


def _tune(backbone: nn.Module, tuning: str) -> None:
    """Say which parameters train; `lora` adds them."""
    require_tuning(tuning)
    backbone.requires_grad_(tuning == "full")
    if tuning == "lora":
        peft = import_pretrained("peft")
        adapters = peft.LoraConfig(
            r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules=LORA_TARGETS, lora_dropout=0.0
        )
        peft.inject_adapter_in_model(adapters, backbone)
