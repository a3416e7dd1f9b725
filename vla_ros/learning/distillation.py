"""A trained policy as the teacher of a smaller one: its answers are soft targets.

Distillation (Hinton et al. 2015), of a policy (Rusu et al. 2016). Beside the demonstrations, the
student learns what the teacher makes of the very same inputs: its chunk and progress, where it
looks, and which thing it takes the words to mean. That says more than a label: what else could
have been meant, and how surely.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vla_ros.core.errors import UserError
from vla_ros.learning.batch_types import ImageBatch, StateBatch
from vla_ros.learning.checkpoints import policy_from_checkpoint, trained_language
from vla_ros.learning.clouds import CloudReader
from vla_ros.learning.grounding_losses import NEAR_PX
from vla_ros.learning.looks import with_looks
from vla_ros.learning.provenance import differences, language_sha256
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.configuration import CAMERAS, PolicyConfig
from vla_ros.policy.grounding import SeenThings
from vla_ros.policy.heads import Action
from vla_ros.policy.model import Inputs, Policy
from vla_ros.policy.places import Points
from vla_ros.policy.vision import Sighting

#: Divides logits on both sides, so that what the teacher holds for second best counts too; losses
#: are multiplied by its square, as there.
TEMPERATURE = 2.0
#: What teacher and student must share: they are given the same inputs and answer in the same form.
SHARED = (
    *("cameras", "kinematics", "n_joints", "horizon", "step_s", "imu_window"),
    *("language_encoder", "language_tokens", "language_features"),
)


class Lesson(NamedTuple):
    """What a teacher makes of B rendered states, with Q questions about each.

    Attributes:
        attention: Logits over the cells of each camera's image (B, queries, cells + 1).
        points: Where it sees object and target of each state's own sentence.
        slots: What that sentence says to it (B, 4, W).
        things: The K regions that it sees.
        pointers: Which of them each question means (B Q, 2, K + 1), logits.
    """

    attention: dict[str, Tensor]
    points: dict[str, Points]
    slots: Tensor
    things: SeenThings
    pointers: Tensor


class Teacher:
    """A trained policy that does not change, asked about the batches of a training run."""

    def __init__(self, policy: Policy) -> None:
        """Ask `policy`."""
        self.policy = policy.eval().requires_grad_(False)
        self._read_cloud = CloudReader(policy.config)

    @torch.no_grad()
    def act(self, inputs: Inputs, slots: Tensor, points: dict[str, Points]) -> Action:
        """Return the chunk that it decides for what it was told and sees."""
        return self.policy.act(inputs, slots, points)

    @torch.no_grad()
    def read(self, batch: StateBatch, given: Tensor) -> Tensor:
        """Return what it is told about bare states (N, 4, W).

        Args:
            batch: The states.
            given: (sentences, 2), 1 where training says how object and target look.
        """
        slots = self.policy.language(batch.text.tokens, batch.text.mask)
        slots = with_looks(self.policy, slots, batch.looks, given)
        return slots.repeat_interleave(batch.repeat, 0)

    @torch.no_grad()
    def look(self, batch: ImageBatch, inputs: Inputs, given: Tensor, *, narrow: bool) -> Lesson:
        """Return what it makes of rendered states.

        Args:
            batch: The states.
            inputs: Their images, and which of the modalities are there.
            given: (B, Q, 2), 1 where training says how object and target look.
            narrow: Whether it sees them in bfloat16.
        """
        policy = self.policy
        slots = policy.language(batch.queries.tokens, batch.queries.mask)
        slots = with_looks(policy, slots, batch.looks.flatten(0, 1), given.flatten(0, 1))
        slots = slots.view(len(batch.things), batch.per_image, *slots.shape[1:])
        queries = slots[:, :, 1:3].flatten(1, 2)
        attention, own = {}, {}
        for index, name in enumerate(CAMERAS):
            asked, keep = queries, [0, 1]
            if name == "front":
                gripper = policy.gripper_query.expand(len(queries), -1, -1)
                asked, keep = torch.cat([queries, gripper], 1), [0, 1, -1]
            pose = policy.camera_pose(name, inputs.state)
            with torch.autocast(inputs.state.device.type, torch.bfloat16, enabled=narrow):
                maps = policy.map_of(
                    index, inputs.rgb[index], inputs.depth[index], inputs.present, pose
                )
                sighting = policy.vision[name](*maps, asked)
            if name == "front":
                features, cell_depth = (value.float() for value in maps)
                things = policy.propose(features, cell_depth, inputs.present)
            attention[name] = sighting.logits.float()
            own[name] = Sighting(*(value.float()[:, keep] for value in sighting))
        return Lesson(
            attention=attention,
            points=policy.to_base(own, inputs),
            slots=slots[:, 0],
            things=things,
            pointers=self._point(batch, things),
        )

    def with_cloud(self, inputs: Inputs, batch: ImageBatch) -> Inputs:
        """Return the inputs with the points that it reads, if it reads any."""
        return inputs._replace(cloud=self._read_cloud(batch))

    def _point(self, batch: ImageBatch, things: SeenThings) -> Tensor:
        grounder, asked = self.policy.grounder, batch.asked
        questions = grounder.read(asked.text.tokens, asked.text.mask)
        each = SeenThings(*(v.repeat_interleave(asked.readable.shape[1], 0) for v in things))
        pointers: Tensor = grounder(questions, each).pointers
        return pointers


def open_teacher(
    config: TrainingConfig, student: PolicyConfig, device: torch.device
) -> Teacher | None:
    """Return the teacher of a training run; None if it has none.

    Args:
        config: Of the run, which names a bundle or checkpoint.
        student: Who learns from it.
        device: Where it computes.

    Raises:
        UserError: if it is no policy, or takes or gives something else than the student; names
            both sides.
    """
    path = config.teacher
    if path is None:
        return None
    policy = policy_from_checkpoint(path)
    wrong = [
        f"{name} is {getattr(student, name)} in the student and {getattr(policy.config, name)} in "
        "the teacher"
        for name in SHARED
        if getattr(student, name) != getattr(policy.config, name)
    ]
    wrong += differences(trained_language(path), language_sha256(config.language))
    if wrong:
        raise UserError(
            f"{path}: cannot teach this policy: {'; '.join(wrong)}. Teacher and student may "
            "differ in size, encoders of images, depth and IMU, fusion and head alone"
        )
    return Teacher(policy.to(device))


def attention_distance(said: Tensor, taught: Tensor) -> Tensor:
    """Return how far attention is from the teacher's: KL divergence, softened.

    Args:
        said: The student's logits (..., cells + 1).
        taught: The teacher's.
    """
    return _divergence(said, torch.softmax(taught / TEMPERATURE, -1)).mean()


def pointing_distance(
    said: Tensor, things: SeenThings, lesson: Lesson, readable: Tensor
) -> Tensor:
    """Return how far pointers are from the teacher's: KL divergence, softened.

    Each sees regions of its own: what the teacher gives to one counts for the student's region of
    the same place, and as "none of them" where the student sees nothing.

    Args:
        said: The student's pointers (B Q, 2, K + 1), logits.
        things: The student's K regions in B scenes.
        lesson: What the teacher makes of them.
        readable: (B, Q), 0 for questions that do not count.
    """
    taught = torch.softmax(lesson.pointers / TEMPERATURE, -1)
    placed = _same_places(things, lesson.things).repeat_interleave(readable.shape[1], 0)
    target = taught[..., :-1] @ placed  # (B Q, 2, K + 1)
    target = torch.cat([target[..., :-1], target[..., -1:] + taught[..., -1:]], -1)
    apart = _divergence(said, target).sum(-1)  # (B Q,)
    weight = readable.flatten()
    return (apart * weight).sum() / weight.sum().clamp(min=1.0)


def _divergence(said: Tensor, taught: Tensor) -> Tensor:
    """Return the KL divergence of shares `taught` (..., C) from logits `said`, times T squared."""
    chances = torch.log_softmax(said / TEMPERATURE, -1)
    apart = functional.kl_div(chances, taught, reduction="none").sum(-1)
    return apart * TEMPERATURE**2


def _same_places(own: SeenThings, others: SeenThings) -> Tensor:
    """Return (B, K', K + 1), 1 for the own region that each of the others is; last, for none."""
    apart = torch.cdist(others.pixel.float(), own.pixel.float())
    there = (others.presence > 0)[..., None] & (own.presence > 0)[:, None]
    nearest, index = apart.masked_fill(~there, 1e4).min(-1)
    count = own.pixel.shape[1]
    index = torch.where(nearest <= NEAR_PX, index, torch.full_like(index, count))
    return functional.one_hot(index, count + 1).to(apart.dtype)
