"""What the graphs of a bundle compute: the policy with flat inputs and outputs, and examples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_ros.policy.configuration import CAMERAS, MODALITIES, PolicyConfig
from vla_ros.policy.encoders import CloudBatch
from vla_ros.policy.grounding import DEMONSTRATIONS, Shown
from vla_ros.policy.heads import Prefix, find_head
from vla_ros.policy.language import SLOTS
from vla_ros.policy.model import Inputs, Policy
from vla_ros.policy.places import merge_points
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
#: Of the graph that acts, for heads that heed a prefix; behind all others.
PREFIX_INPUT_NAMES = ("prefix", "prefix_weight", "prefix_known")
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


def graph_inputs(config: PolicyConfig) -> tuple[str, ...]:
    """Return the inputs of the graph that acts."""
    cloud = () if config.cloud is None else CLOUD_INPUT_NAMES
    return INPUT_NAMES + cloud + find_head(config.head).prefix_inputs(config)


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
        cloud: Tensor | None = None,
        cloud_mask: Tensor | None = None,
        prefix: Tensor | None = None,
        prefix_weight: Tensor | None = None,
        prefix_known: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return `OUTPUT_NAMES`."""
        points_read = None
        if cloud is not None and cloud_mask is not None:
            points_read = CloudBatch(cloud, cloud_mask)
        begun = None
        if prefix is not None and prefix_weight is not None:
            begun = Prefix(prefix, prefix_weight, prefix_known)
        inputs = Inputs(
            rgb=(rgb_front, rgb_wrist),
            depth=(depth_front, depth_wrist),
            imu=imu,
            state=state,
            slots=slots,
            queries=queries,
            anchor=anchor,
            present=present,
            cloud=points_read,
            prefix=begun,
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
        *_example_prefix(config, draw),
    )


def _example_cloud(config: PolicyConfig, draw: torch.Generator) -> tuple[Tensor, ...]:
    if config.cloud is None:
        return ()
    count = config.cloud.count
    return torch.rand(1, count, 6, generator=draw), (torch.arange(count)[None] < count / 2).float()


def _example_prefix(config: PolicyConfig, draw: torch.Generator) -> tuple[Tensor, ...]:
    """Return rows of which two are known, and fewer and fewer heeded, as far as they are taken."""
    rows = torch.arange(config.horizon)[None]
    parts = {
        "prefix": 0.3 * torch.randn(1, config.horizon, config.n_joints, generator=draw),
        "prefix_weight": (1.0 - rows / (0.7 * config.horizon)).clamp(min=0.0),
        "prefix_known": (rows < 2).float(),
    }
    return tuple(parts[name] for name in find_head(config.head).prefix_inputs(config))


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


def front_alone(inputs: tuple[Tensor, ...], names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """Return inputs of which all but the front camera's colours is masked, and no prompt given."""
    masked = dict(zip(names, inputs, strict=True))
    masked["present"] = torch.tensor([[float(name == "front") for name in MODALITIES]])
    if "shown_mask" in masked:
        masked["shown_mask"] = torch.zeros_like(masked["shown_mask"])
    return tuple(masked.values())
