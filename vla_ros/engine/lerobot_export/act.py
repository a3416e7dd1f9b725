"""ACT as one graph: raw images and joint positions in, joint targets out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla_ros.contract.features import STATE
from vla_ros.core.errors import EngineError
from vla_ros.engine.lerobot_checkpoint import LeRobotCheckpoint
from vla_ros.engine.lerobot_export.affine import of_bytes
from vla_ros.engine.lerobot_export.declaration import declare_inputs, image_names, tensor_of
from vla_ros.engine.lerobot_export.graphs import examples, write_graph
from vla_ros.engine.lerobot_export.processing import Processing

GRAPH = "policy.onnx"


class ActGraph(nn.Module):
    """What LeRobot's `ACT.forward` computes at inference, written so that a graph runs fast.

    The layers are the checkpoint's own. What differs: images come as uint8 (B, H, W, 3) and are
    normalized here; frozen batch norms are folded into the convolutions before them; tokens are
    concatenated, not stacked one by one.
    """

    latent: Tensor
    queries: Tensor
    token_positions: Tensor

    def __init__(self, checkpoint: LeRobotCheckpoint, processing: Processing) -> None:
        """Take the layers of a checkpoint; those of its backbone are changed.

        Raises:
            EngineError: if the checkpoint does what this graph does not.
        """
        super().__init__()
        config, model = checkpoint.config, checkpoint.policy.model
        if config.env_state_feature or not config.image_features or not config.robot_state_feature:
            raise EngineError(
                f"{checkpoint.source}: an ACT without camera or joint positions, or with "
                "observation.environment_state, is not exported; run it with --backend lerobot"
            )
        self._state = processing.inputs[STATE]
        self._images = tuple(of_bytes(processing.inputs[name]) for name in image_names(checkpoint))
        self._action = processing.action
        fold_batch_norms(model.backbone)
        self.backbone, self.project = model.backbone, model.encoder_img_feat_input_proj
        self.encoder, self.decoder, self.head = model.encoder, model.decoder, model.action_head
        self.state_projection = model.encoder_robot_state_input_proj
        self.camera_positions = model.encoder_cam_feat_pos_embed
        with torch.no_grad():
            latent = model.encoder_latent_input_proj(torch.zeros(1, config.latent_dim))
        self.register_buffer("latent", latent[None])  # (1, 1, D)
        self.register_buffer("token_positions", model.encoder_1d_feature_pos_embed.weight[:, None])
        self.register_buffer("queries", model.decoder_pos_embed.weight[:, None])  # (H, 1, D)

    def forward(self, state: Tensor, *images: Tensor) -> Tensor:
        """Return joint targets (B, chunk, n) of positions (B, n) and images (B, H, W, 3)."""
        batch = state.shape[0]
        tokens = [
            self.latent.expand(-1, batch, -1),
            self.state_projection(self._state(state))[None],
        ]
        positions = [self.token_positions]
        for image, normalize in zip(images, self._images, strict=True):
            pixels = normalize(image.permute(0, 3, 1, 2).float())  # (B, 3, H, W)
            seen = self.backbone(pixels)["feature_map"]
            positions.append(_flat(self.camera_positions(seen)))
            tokens.append(_flat(self.project(seen)))
        position = torch.cat(positions)  # (S, 1, D)
        memory = self.encoder(torch.cat(tokens), pos_embed=position)  # (S, B, D)
        start = torch.zeros_like(self.queries).expand(-1, batch, -1)
        decoded = self.decoder(
            start, memory, encoder_pos_embed=position, decoder_pos_embed=self.queries
        )
        return self._action(self.head(decoded.transpose(0, 1)))


def write_act(
    checkpoint: LeRobotCheckpoint, processing: Processing, output: Path
) -> dict[str, Any]:
    """Write the graph of an ACT and return its signature.

    Raises:
        EngineError: if the checkpoint does what the graph does not.
    """
    inputs = declare_inputs(checkpoint)
    graph = ActGraph(checkpoint, processing)
    names = [STATE, *image_names(checkpoint)]
    write_graph(
        graph,
        output / GRAPH,
        inputs=[tensor_of(name) for name in names],
        outputs=["actions"],
        example=examples(checkpoint, names),
    )
    return {"graph": GRAPH, "inputs": inputs, "outputs": {"action": {"tensor": "actions"}}}


def fold_batch_norms(module: nn.Module) -> None:
    """Put each frozen batch norm into the convolution before it, in place and in float64."""
    convolution: nn.Conv2d | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            convolution = child
        elif type(child).__name__ == "FrozenBatchNorm2d" and convolution is not None:
            _fold(convolution, child)
            setattr(module, name, nn.Identity())
            convolution = None
        else:
            fold_batch_norms(child)


def _fold(convolution: nn.Conv2d, norm: Any) -> None:
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    offset = norm.bias.double() - norm.running_mean.double() * scale
    if convolution.bias is not None:
        offset = offset + convolution.bias.double() * scale
    weight = convolution.weight.double() * scale[:, None, None, None]
    convolution.weight = nn.Parameter(weight.float(), requires_grad=False)
    convolution.bias = nn.Parameter(offset.float(), requires_grad=False)


def _flat(values: Tensor) -> Tensor:
    """Return (B, D, h, w) as tokens (h w, B, D)."""
    return values.flatten(2).permute(2, 0, 1)
