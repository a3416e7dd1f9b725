"""SmolVLA as two graphs: what is seen, read and felt once; a denoising step of the action expert.

The first graph gives the keys and values of every layer, the second takes them in every step. All
is computed in float32, whatever the checkpoint's weights are kept in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from vla_ros.contract.features import STATE, TASK
from vla_ros.core.errors import EngineError
from vla_ros.engine.lerobot_checkpoint import LeRobotCheckpoint
from vla_ros.engine.lerobot_export.affine import of_bytes
from vla_ros.engine.lerobot_export.declaration import declare_inputs, image_names, tensor_of
from vla_ros.engine.lerobot_export.graphs import TRACED, examples, write_graph
from vla_ros.engine.lerobot_export.processing import Processing

PREFIX, DENOISE, TOKENIZER = "prefix.onnx", "denoise.onnx", "tokenizer.json"
#: What LeRobot gives the policy of an instruction.
TOKENS, MASK = "observation.language.tokens", "observation.language.attention_mask"
#: Texts that must become the same tokens here as there, and what may be put behind a text.
TEXTS = ("look", "Pick up the red cube.", "put 2 of them\ninto the box ")
SUFFIXES = ("", "\n")


class Prefix(nn.Module):
    """Images, tokens and state to the key-value cache of every layer, and which of it counts."""

    def __init__(self, checkpoint: LeRobotCheckpoint, processing: Processing) -> None:
        """Take the layers of a checkpoint."""
        super().__init__()
        self.model, self._config = checkpoint.policy.model, checkpoint.config
        self._policy = [checkpoint.policy]  # in a list: it is no part of this module
        self._state = processing.inputs[STATE]
        self._images = {
            name: of_bytes(processing.inputs[name]) for name in image_names(checkpoint)
        }
        vlm = self.model.vlm_with_expert
        vlm.embed_image = _Seeing(vlm, self._width_and_height(checkpoint))

    def forward(
        self, state: Tensor, tokens: Tensor, mask: Tensor, *images: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the mask (B, L) and each layer's keys and values (B, L, heads, width)."""
        named = zip(self._images.items(), images, strict=True)
        batch = {name: affine(image.permute(0, 3, 1, 2)) for (name, affine), image in named}
        seen, there = self._policy[0].prepare_images(batch)
        felt = self._policy[0].prepare_state({STATE: self._state(state)})
        embedded, pads, attends = self.model.embed_prefix(seen, there, tokens, mask, state=felt)
        columns = torch.cumsum(attends, dim=1)
        attention = (columns[:, None, :] <= columns[:, :, None]) & (
            pads[:, None, :] & pads[:, :, None]
        )
        _, cache = self.model.vlm_with_expert(
            attention_mask=attention,
            position_ids=torch.cumsum(pads, dim=1) - 1,
            past_key_values=None,
            inputs_embeds=[embedded, None],
            use_cache=True,
            fill_kv_cache=True,
        )
        kept = (cache[layer][kind] for layer in sorted(cache) for kind in KINDS)
        return (pads, *kept)

    @staticmethod
    def _width_and_height(checkpoint: LeRobotCheckpoint) -> tuple[int, int]:
        wanted = checkpoint.config.resize_imgs_with_padding
        if wanted is None:
            raise EngineError(
                f"{checkpoint.source}: is exported only with resize_imgs_with_padding; run it "
                "with --backend lerobot"
            )
        return wanted[0], wanted[1]


class Denoise(nn.Module):
    """One step: the velocity of noisy actions (B, chunk, width) at a time (B,)."""

    def __init__(self, checkpoint: LeRobotCheckpoint) -> None:
        """Take the layers of a checkpoint."""
        super().__init__()
        self.model = checkpoint.policy.model

    def forward(self, noisy: Tensor, time: Tensor, pads: Tensor, *cache: Tensor) -> Tensor:
        """Return the velocity (B, chunk, width)."""
        layers = {
            index: dict(zip(KINDS, cache[2 * index : 2 * index + 2], strict=True))
            for index in range(len(cache) // 2)
        }
        velocity: Tensor = self.model.denoise_step(
            prefix_pad_masks=pads, past_key_values=layers, x_t=noisy, timestep=time
        )
        return velocity


KINDS = ("key_states", "value_states")


class _Seeing:
    """`embed_image` for one size: the positions of its patches are the same every time.

    The original finds them with loops and masks that depend on values, which no graph has.
    """

    def __init__(self, vlm: Any, size: tuple[int, int]) -> None:
        self._vision, self._connector = (
            vlm.get_vlm_model().vision_model,
            vlm.get_vlm_model().connector,
        )
        found: list[Tensor] = []
        positions = self._vision.embeddings.position_embedding
        hook = positions.register_forward_hook(lambda _m, _i, value: found.append(value.detach()))
        with torch.no_grad():
            self._vision(pixel_values=torch.zeros(1, 3, size[1], size[0]))
        hook.remove()
        self._positions = found[0]  # (1, patches, width)

    def __call__(self, image: Tensor) -> Tensor:
        patches = self._vision.embeddings.patch_embedding(image).flatten(2).transpose(1, 2)
        encoded = self._vision.encoder(inputs_embeds=patches + self._positions)
        seen = self._vision.post_layernorm(encoded[0])
        embedded: Tensor = self._connector(seen)
        return embedded


def write_smolvla(
    checkpoint: LeRobotCheckpoint, processing: Processing, output: Path
) -> dict[str, Any]:
    """Write both graphs and the tokenizer, and return the signature.

    Raises:
        EngineError: if the checkpoint does what the graphs do not.
    """
    config = checkpoint.config
    for name in ("adapt_to_pi_aloha", "use_delta_joint_actions_aloha", "add_image_special_tokens"):
        if getattr(config, name):
            raise EngineError(
                f"{checkpoint.source}: {name} is not exported; run it with --backend lerobot"
            )
    checkpoint.policy.float()
    inputs = declare_inputs(checkpoint) | {TASK: _write_tokenizer(checkpoint, output)}
    names = image_names(checkpoint)
    state, *images = examples(checkpoint, [STATE, *names])
    length = config.tokenizer_max_length
    tokens = torch.ones((TRACED, length), dtype=torch.int64)
    mask = (torch.arange(length) < length // 2).repeat(TRACED, 1)
    prefix = Prefix(checkpoint, processing)
    example = (state, tokens, mask, *images)
    with torch.no_grad():
        cache = prefix(*example)
    layers = range((len(cache) - 1) // 2)
    kept = ["pads", *(f"{kind}_{layer}" for layer in layers for kind in ("keys", "values"))]
    write_graph(
        prefix,
        output / PREFIX,
        inputs=[tensor_of(STATE), "tokens", "mask", *map(tensor_of, names)],
        outputs=kept,
        example=example,
    )
    noisy = torch.randn(TRACED, config.chunk_size, config.max_action_dim)
    write_graph(
        Denoise(checkpoint),
        output / DENOISE,
        inputs=["noisy", "time", *kept],
        outputs=["velocity"],
        example=(noisy, torch.ones(TRACED), *cache),
    )
    action = processing.action
    return {
        "graph": PREFIX,
        "inputs": inputs,
        "outputs": {
            "action": {
                "tensor": "noisy",
                "mean": action.offset.tolist(),
                "std": action.scale.tolist(),
            }
        },
        "denoising": {
            "graph": DENOISE,
            "noisy": "noisy",
            "time": "time",
            "velocity": "velocity",
            "steps": config.num_steps,
        },
    }


def _write_tokenizer(checkpoint: LeRobotCheckpoint, output: Path) -> dict[str, Any]:
    """Write the tokenizer and declare it, if it gives the tokens that LeRobot's step gives."""
    step = next(s for s in checkpoint.preprocess.steps if hasattr(s, "input_tokenizer"))
    original = step.input_tokenizer
    tokenizer = Tokenizer.from_str(original.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    suffix = next((each for each in SUFFIXES if _same(checkpoint, tokenizer, each)), None)
    if suffix is None or step.padding_side != "right":
        raise EngineError(
            f"{checkpoint.source}: its processors change the instruction in a way that is not "
            "exported; run it with --backend lerobot"
        )
    tokenizer.save(str(output / TOKENIZER))
    declared: dict[str, Any] = {"tensor": "tokens", "mask": "mask", "tokenizer": TOKENIZER}
    declared |= {"length": step.max_length, "pad": original.pad_token_id or 0}
    return declared | ({"suffix": suffix} if suffix else {})


def _same(checkpoint: LeRobotCheckpoint, tokenizer: Tokenizer, suffix: str) -> bool:
    for text in TEXTS:
        width = checkpoint.config.robot_state_feature.shape
        done = checkpoint.preprocess({STATE: torch.zeros(width), "task": text})
        theirs = done[TOKENS][0][done[MASK][0]].tolist()
        ours = tokenizer.encode(text if text.endswith(suffix) else text + suffix).ids
        if theirs != ours:
            return False
    return True
