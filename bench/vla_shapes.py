"""The shapes of SmolVLA and π0: what their latency depends on, and their weights do not.

One inference is a prefix pass (vision tower, then a text model over image, language and state
tokens) that fills a key-value cache, and ten denoise steps of a smaller action expert that reads
that cache. Both share this form:

- SmolVLA (Shukor et al., 2025, arXiv:2506.01844; `lerobot/policies/smolvla`): SmolVLM2-500M, of
  whose 32 text layers the first 16 are used, and an expert of 0.75 times their width whose layers
  attend to themselves and the cache, or to the cache alone, in turn.
- π0 (Black et al., 2024, arXiv:2410.24164; `openpi/models/gemma.py` and `siglip.py`): PaliGemma 2B
  and an expert of 300M, layer by layer in one attention.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionShape:
    """A SigLIP vision tower.

    Attributes:
        side: Of the square image [px].
        patch: Side of a patch [px].
        width: Of its tokens.
        layers: How many.
        heads: Of its attention.
        mlp: Width of its feed-forward layers.
        shuffle: Patches of a square of this side become one token.
    """

    side: int
    patch: int
    width: int
    layers: int
    heads: int
    mlp: int
    shuffle: int = 1

    @property
    def tokens(self) -> int:
        """Tokens of one image."""
        return (self.side // self.patch // self.shuffle) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class VlaShape:
    """A vision-language-action model.

    Attributes:
        name: Of the model whose shapes these are.
        vision: Its vision tower.
        layers: Of the text model that are used, and of the expert.
        heads: Of the attention, in both.
        kv_heads: Of keys and values, in both.
        head_width: Width of a head, in both.
        width: Of the text model's tokens.
        mlp: Width of its feed-forward layers.
        expert_width: Of the expert's tokens.
        expert_mlp: Width of its feed-forward layers.
        cross_every_second: Whether every second layer of the expert reads the cache alone.
        state_in_prefix: Whether the robot's state is a token of the prefix, or of the expert.
        cameras: Images of one observation.
        words: Language tokens.
        chunk: Actions of one inference.
        action: Numbers of one action, padded.
        steps: Denoise steps of one inference.
    """

    name: str
    vision: VisionShape
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    width: int
    mlp: int
    expert_width: int
    expert_mlp: int
    cross_every_second: bool
    state_in_prefix: bool
    cameras: int
    words: int
    chunk: int = 50
    action: int = 32
    steps: int = 10


SMOLVLA = VlaShape(
    name="SmolVLA",
    vision=VisionShape(side=512, patch=16, width=768, layers=12, heads=12, mlp=3072, shuffle=4),
    layers=16,
    heads=15,
    kv_heads=5,
    head_width=64,
    width=960,
    mlp=2560,
    expert_width=720,
    expert_mlp=2048,
    cross_every_second=True,
    state_in_prefix=True,
    cameras=2,
    words=48,
)
PI0 = VlaShape(
    name="pi0",
    vision=VisionShape(side=224, patch=14, width=1152, layers=27, heads=16, mlp=4304),
    layers=18,
    heads=8,
    kv_heads=1,
    head_width=256,
    width=2048,
    mlp=16384,
    expert_width=1024,
    expert_mlp=4096,
    cross_every_second=False,
    state_in_prefix=False,
    cameras=3,
    words=48,
)


def shrink(shape: VlaShape) -> VlaShape:
    """Return the same form, small enough to see on a CPU that it works."""
    vision = VisionShape(
        side=8 * shape.vision.patch,
        patch=shape.vision.patch,
        width=32,
        layers=1,
        heads=2,
        mlp=64,
        shuffle=shape.vision.shuffle,
    )
    return VlaShape(
        name=f"{shape.name}-small",
        vision=vision,
        layers=2,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_width=8,
        width=64,
        mlp=128,
        expert_width=48,
        expert_mlp=96,
        cross_every_second=shape.cross_every_second,
        state_in_prefix=shape.state_in_prefix,
        cameras=shape.cameras,
        words=8,
        chunk=10,
        steps=shape.steps,
    )
