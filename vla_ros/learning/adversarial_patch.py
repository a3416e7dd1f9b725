"""A small picture that misleads a policy wherever it is seen, optimized against its weights.

A universal targeted patch (Brown et al. 2017, "Adversarial Patch"): one picture for every scene,
sentence, camera and place, found by gradient ascent on how likely the policy takes it for the
object that the sentence names. How far it moves the commands is a worse thing to ascend: where the
eyes do not look at the patch yet, there is hardly a gradient. Scaled down: it is pasted
upright and at one size, as the evaluation does, and not turned, scaled or printed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from vla_ros.core.errors import UserError
from vla_ros.core.types import UInt8Array
from vla_ros.engine.language import LanguageEncoder
from vla_ros.evaluation.disturbance.patch import BUNDLE_KEY, random_patch
from vla_ros.learning.experts import Expert
from vla_ros.learning.rollouts import Record, run_episode
from vla_ros.policy.configuration import CAMERAS, MODALITIES
from vla_ros.policy.model import Inputs, Policy
from vla_ros.policy.places import merge_points
from vla_ros.policy.vision import KeypointEncoder
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import TEST_SEED, sample_scene

#: Share of the states that are rendered; neighbours look alike.
IMAGE_SHARE = 0.08
#: One of this many scenes is kept to compare the patch with its control.
HELD_OUT_EVERY = 5
#: A cell of the cameras' maps has 4 pixels: in less than twice that, a cell's centre may not lie.
SMALLEST_PX = 8

#: Rendered states: `rgb_CAMERA` (N, H, W, 3), `depth_CAMERA` (N, H, W) [m], `imu` (N, T, 6),
#: `state` (N, 3 n), `words` (N, L, F), `mask` (N, L).
States = dict[str, NDArray[Any]]
Batch = dict[str, Tensor]
#: Called after every step with its number and how likely the patch was the object, 0 to 1.
OnStep = Callable[[int, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchConfig:
    """How a patch is made.

    Attributes:
        size_px: Width and height of the patch [px]; the cameras have 128.
        scenes: Training scenes that are rendered, each along an expert's episode.
        first_seed: Of the first scene.
        steps: Of gradient ascent.
        batch: Rendered states in a step.
        learning_rate: Of Adam, on the logits of the pixels.
        seed: Of the first pixels, the batches and the places.
    """

    size_px: int = 24
    scenes: int = 80
    first_seed: int = 9_000_000
    steps: int = 500
    batch: int = 8
    learning_rate: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            UserError: names the option, what was expected and what came.
        """
        for name, value, least in (
            ("size", self.size_px, SMALLEST_PX),
            ("scenes", self.scenes, HELD_OUT_EVERY),
            ("seed", self.first_seed, 0),
            ("steps", self.steps, 1),
            ("batch", self.batch, 1),
        ):
            if value < least:
                raise UserError(f"--{name} is {value}; expected {least} or more")
        if self.first_seed + self.scenes > TEST_SEED:
            raise UserError(
                f"--seed: seeds {self.first_seed} to {self.first_seed + self.scenes} must lie "
                f"below {TEST_SEED}; those above belong to the test splits"
            )


class Patch(NamedTuple):
    """A patch, and what it does in scenes that it was not made with.

    Attributes:
        pixels: (size, size, 3).
        moved_rad: How far it moves a chunk's joint targets, on average [rad].
        control_rad: How far random colours of its size do at the same places [rad].
    """

    pixels: UInt8Array
    moved_rad: float
    control_rad: float

    def save(self, path: Path, bundle_sha256: str) -> None:
        """Write it as a PNG that says against which bundle it was made."""
        about = PngInfo()
        about.add_text(BUNDLE_KEY, bundle_sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.pixels).save(path, pnginfo=about)


def make_patch(policy: Policy, states: States, config: PatchConfig, on_step: OnStep) -> Patch:
    """Optimize a patch on most of the states, and compare it with its control on the others.

    Args:
        policy: With fixed weights.
        states: From `render_states`.
        config: How.
        on_step: Called after every step.
    """
    held_out = states["scene"] % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    others = {key: value[held_out] for key, value in states.items()}
    pixels = _optimize(policy, {k: v[~held_out] for k, v in states.items()}, config, on_step)
    return Patch(
        pixels,
        moved_rad=harm(policy, others, pixels, config),
        control_rad=harm(policy, others, random_patch(*pixels.shape[:2]), config),
    )


def render_states(config: PatchConfig, language: LanguageEncoder) -> States:
    """Return states along experts' episodes; `scene` (N,) has the number of the episode."""
    environment, expert = Environment(cameras=()), Expert()
    parts: list[States] = []
    for index in range(config.scenes):
        seed = config.first_seed + index
        record = run_episode(
            environment,
            sample_scene(seed=seed),
            expert,
            lambda _, chunk: chunk,
            rng=np.random.default_rng((seed, 13)),
            image_probability=IMAGE_SHARE,
        )
        if record.images:
            parts.append(_states_of(record, index, language))
    environment.close()
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _states_of(record: Record, index: int, language: LanguageEncoder) -> States:
    """Return the rendered states of an episode."""
    rows = [int(row) for row in record.images["row"]]
    felt: States = {key: np.array(values)[rows] for key, values in record.states.items()}
    seen: States = {key: np.array(values) for key, values in record.images.items()}
    words = language.encode(record.texts)
    lead = felt["command"] - felt["state"]
    return {
        **{f"rgb_{camera}": seen[f"rgb_{camera}"] for camera in CAMERAS},
        **{f"depth_{camera}": seen[f"depth_{camera}"] * np.float32(1e-3) for camera in CAMERAS},
        "imu": felt["imu"],
        "state": np.concatenate([felt["state"], felt["velocity"], lead], 1),
        "words": np.repeat(words.features[None], len(rows), 0),
        "mask": np.repeat(words.mask[None], len(rows), 0),
        "scene": np.full(len(rows), index),
    }


class Response(NamedTuple):
    """What a policy makes of a batch of B states.

    Attributes:
        chunk: (B, horizon, n) [rad].
        where: By camera, the logarithm of how likely the object is in each cell (B, cells).
    """

    chunk: Tensor
    where: dict[str, Tensor]


def respond(policy: Policy, batch: Batch) -> Response:
    """Return what a policy makes of states that it sees for the first time.

    Gradients reach the images. What was said is looked for in them, and where things are
    remembered from them, as at the start of an instruction.
    """
    rgb, depth = (
        tuple(batch[f"{what}_{camera}"] for camera in CAMERAS) for what in ("rgb", "depth")
    )
    present = torch.ones(len(rgb[0]), len(MODALITIES))
    said = policy.ground(batch["words"], batch["mask"], policy.scan(rgb[0], depth[0], present))
    inputs = Inputs(
        rgb=(rgb[0], rgb[1]),
        depth=(depth[0], depth[1]),
        imu=batch["imu"],
        state=batch["state"],
        slots=said.slots,
        queries=said.queries,
        anchor=torch.zeros(len(present), 2, 4),
        present=present,
    )
    sightings = policy.look(inputs)
    points = policy.to_base(sightings, inputs)
    remembering = inputs._replace(anchor=merge_points(points))
    return Response(
        policy.act(remembering, said.slots, points).chunk,
        {name: torch.log_softmax(s.logits[:, 0], -1)[:, :-1] for name, s in sightings.items()},
    )


def harm(policy: Policy, states: States, patch: UInt8Array, config: PatchConfig) -> float:
    """Return how far a patch moves a chunk's targets on average [rad], at places of its size."""
    rng = np.random.default_rng((config.seed, 41))
    pixels = torch.from_numpy(patch).float()
    rows = np.arange(len(states["state"]))
    moved = 0.0
    with torch.no_grad():
        for part in np.array_split(rows, -(-len(rows) // config.batch)):
            batch = _tensors(states, part)
            pasted, _ = _paste(batch, pixels, rng)
            change = respond(policy, pasted).chunk - respond(policy, batch).chunk
            moved += float(change.abs().mean()) * len(part)
    return moved / len(rows)


def _optimize(policy: Policy, states: States, config: PatchConfig, on_step: OnStep) -> UInt8Array:
    """Return the patch (size, size, 3) that is most often taken for the object."""
    rng = np.random.default_rng((config.seed, 37))
    first = rng.normal(0, 0.5, (config.size_px, config.size_px, 3)).astype(np.float32)
    logits = torch.from_numpy(first).requires_grad_(True)
    optimizer = torch.optim.Adam([logits], lr=config.learning_rate)
    for step in range(config.steps):
        rows = rng.integers(len(states["state"]), size=config.batch)
        pasted, inside = _paste(_tensors(states, rows), 255.0 * torch.sigmoid(logits), rng)
        where = respond(policy, pasted).where
        taken = torch.stack(
            [
                torch.logsumexp(where[camera].masked_fill(~inside[camera], -torch.inf), -1)
                for camera in CAMERAS
            ]
        )  # (cameras, B)
        (logits.grad,) = torch.autograd.grad(-taken.mean(), logits)
        optimizer.step()
        on_step(step + 1, float(taken.detach().exp().mean()))
    pixels = 255.0 * torch.sigmoid(logits.detach())
    return np.asarray(pixels.round().numpy(), np.uint8)


def _paste(batch: Batch, patch: Tensor, rng: Generator) -> tuple[Batch, dict[str, Tensor]]:
    """Return the batch with the patch at a random place in every image.

    The second value says by camera which cells of its map (B, cells) have their centre in it.
    """
    pasted, inside = dict(batch), {}
    cells, (height, width, _) = KeypointEncoder.CELLS, patch.shape
    for camera in CAMERAS:
        images = batch[f"rgb_{camera}"].clone()
        covered = torch.zeros(len(images), cells, cells, dtype=torch.bool)
        rows, columns = images.shape[1:3]
        v, u = ((torch.arange(cells) + 0.5) * side / cells for side in (rows, columns))
        for index in range(len(images)):
            top = int(rng.integers(rows - height + 1))
            left = int(rng.integers(columns - width + 1))
            images[index, top : top + height, left : left + width] = patch
            covered[index] = ((v >= top) & (v < top + height))[:, None] & (
                (u >= left) & (u < left + width)
            )
        pasted[f"rgb_{camera}"], inside[camera] = images, covered.flatten(1)
    return pasted, inside


def _tensors(states: States, rows: NDArray[np.int64]) -> Batch:
    return {key: torch.from_numpy(values[rows]).float() for key, values in states.items()}
