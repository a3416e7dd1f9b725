"""The terms of the loss, on batches of sentences, bare states and rendered states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vla_ros.learning.batch_types import AskedBatch, ImageBatch, StateBatch
from vla_ros.learning.batches import DROPOUT, Batcher
from vla_ros.learning.clouds import CloudReader
from vla_ros.learning.distillation import (
    Lesson,
    Teacher,
    attention_distance,
    pointing_distance,
)
from vla_ros.learning.grounding_losses import Terms, grounding_terms, match, proposal_loss
from vla_ros.learning.imagined import imagine_anchor, imagine_points
from vla_ros.learning.looks import with_looks
from vla_ros.learning.objectives import SlotClassifier, in_view, sighting_loss
from vla_ros.learning.precision import why_not_bfloat16
from vla_ros.learning.recorded_losses import recorded_terms
from vla_ros.learning.seen_scenes import SeenScenes, read_questions
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.configuration import CAMERAS, MODALITIES
from vla_ros.policy.grounding import SeenThings
from vla_ros.policy.heads import Action
from vla_ros.policy.model import Context, Inputs, Policy
from vla_ros.policy.vision import Sighting

if TYPE_CHECKING:
    from vla_ros.learning.recorded import RecordedBatch

TOLD_WEIGHT = 0.3  # of telling how sentences name the object
GRIPPER_SLACK_M = 0.05  # how far the gripper's surface may stand before the tcp


class _Asked(NamedTuple):
    """What a camera is asked for: K queries (B, K, W) and the answers that are true.

    `things` (B, K, 3) [m] in the base frame, `exists` (B, K), `slack` (B, K) [m].
    """

    queries: Tensor
    things: Tensor
    exists: Tensor
    slack: Tensor


class Losses:
    """Draws a step's batches and computes every term on them."""

    def __init__(
        self,
        config: TrainingConfig,
        policy: Policy,
        classifier: SlotClassifier,
        batcher: Batcher,
        teacher: Teacher | None = None,
        recorded: Iterator[RecordedBatch] | None = None,
    ) -> None:
        """Compute the losses of the networks on the batcher's batches.

        A teacher adds terms, and so do batches of recorded episodes.
        """
        self._recorded = recorded
        self._config, self._batcher = config, batcher
        self._policy, self._classifier = policy, classifier
        self._teacher = teacher
        self._device = policy.gripper_query.device
        self._read_cloud = CloudReader(policy.config)
        #: Whether the eyes stay as they are, so that every picture need be looked at only once.
        self._blind = {"vision", "regions"} <= set(config.freeze) and teacher is None
        self._seen: list[SeenScenes] = []
        self._read: Tensor | None = None
        #: Why images are seen in float32; "" if they are seen in bfloat16.
        self.why_float32 = why_not_bfloat16(self._device)

    def __call__(self) -> Terms:
        """Return the terms of one step."""
        config, batcher = self._config, self._batcher
        terms: Terms = {}
        if "language" not in config.freeze:
            text = batcher.texts(config.texts)
            loss, accuracy = self._classifier.loss(
                self._policy.language(text.tokens, text.mask), text.labels
            )
            terms["text"], terms["text_accuracy"] = (loss, 0.2), (accuracy, 0.0)
        if config.episodes:
            terms |= self._of_states(batcher.states(config.episodes, config.states_per_episode))
        if config.images and self._blind:
            terms |= self._of_seen_scenes(config.images)
        elif config.images:
            terms |= self._of_images(batcher.images(config.images, config.sentences_per_image))
        if self._recorded is not None:
            terms |= recorded_terms(self._policy, next(self._recorded), self._read_cloud)
        return terms

    def _of_states(self, batch: StateBatch) -> Terms:
        slots = self._policy.language(batch.text.tokens, batch.text.mask)
        given = torch.maximum(batch.by_reference, _coin(slots[:, 0, 0]))
        given = given[:, None].expand(-1, 2)
        slots = with_looks(self._policy, slots, batch.looks, given)
        slots = slots.repeat_interleave(batch.repeat, 0)
        points = imagine_points(
            self._policy, batch.state, batch.item, batch.target, batch.has_target
        )
        inputs = self._inputs(batch)
        context = self._policy.fuse(inputs, slots, points)
        terms = self._act("state", 1.0, batch, context)
        if self._teacher is not None:
            taught = self._teacher.act(inputs, self._teacher.read(batch, given), points)
            terms |= self._taught("state", 1.0, batch, context, taught)
        return terms

    def _of_images(self, batch: ImageBatch) -> Terms:
        count, per_image = len(batch.things), batch.per_image
        slots = self._policy.language(batch.queries.tokens, batch.queries.mask)
        slots = slots.view(count, per_image, *slots.shape[1:])  # (B, Q, 4, W)
        seen = _coin(batch.exists[..., 0])[..., None] * batch.exists
        looks, given = batch.looks.flatten(0, 1), seen.flatten(0, 1)
        slots = with_looks(self._policy, slots.flatten(0, 1), looks, given).view_as(slots)
        inputs = self._inputs(batch.state, batch)
        lesson = None
        if self._teacher is not None:
            narrow = not self.why_float32
            lesson = self._teacher.look(batch, inputs, seen, narrow=narrow)
        terms: Terms = {}
        own = {}
        for index, name in enumerate(CAMERAS):
            asked = self._asked(batch, slots, gripper=name == "front")
            maps = self._maps(index, inputs)
            if name == "front":
                terms |= self._of_questions(batch, inputs, maps, lesson)
            sighting, attention, location = self._look(index, batch, maps, asked)
            terms[f"attention_{name}"] = (attention, 0.5)
            terms[f"location_{name}"] = (location, 0.3)
            if lesson is not None:
                apart = attention_distance(sighting.logits, lesson.attention[name])
                terms[f"taught_attention_{name}"] = (apart, 0.5 * self._config.teaching)
            keep = [0, 1, -1] if name == "front" else [0, 1]
            own[name] = Sighting(*(value[:, keep] for value in sighting))
        if not (self._config.episodes and batch.state.imitate.any()):
            return terms
        points = self._policy.to_base(own, inputs)
        inputs = inputs._replace(cloud=self._read_cloud(batch))
        context = self._policy.fuse(inputs, slots[:, 0], points)
        terms |= self._act("image", 0.5, batch.state, context)
        if self._teacher is not None and lesson is not None:
            inputs = self._teacher.with_cloud(inputs, batch)
            taught = self._teacher.act(inputs, lesson.slots, lesson.points)
            terms |= self._taught("image", 0.5, batch.state, context, taught)
        return terms

    def _asked(self, batch: ImageBatch, slots: Tensor, *, gripper: bool) -> _Asked:
        """Return object and target of every sentence (B, Q, 4, W), and the gripper if wanted."""
        queries = slots[:, :, 1:3].flatten(1, 2)  # (B, 2Q, W)
        things, exists = batch.things.flatten(1, 2), batch.exists.flatten(1, 2)
        slack = batch.slack.flatten(1, 2)
        if not gripper:
            return _Asked(queries, things, exists, slack)
        count, policy = len(things), self._policy
        _, _, tcp = policy.kinematics(batch.state.state[:, : policy.config.n_joints])
        return _Asked(
            torch.cat([queries, policy.gripper_query.expand(count, 1, -1)], 1),
            torch.cat([things, tcp[:, None]], 1),
            torch.cat([exists, torch.ones_like(exists[:, :1])], 1),
            torch.cat([slack, torch.full_like(slack[:, :1], GRIPPER_SLACK_M)], 1),
        )

    def _of_questions(
        self,
        batch: ImageBatch,
        inputs: Inputs,
        maps: tuple[Tensor, Tensor],
        lesson: Lesson | None,
    ) -> Terms:
        """Return what the proposals and the grounding make of the front image."""
        policy = self._policy
        features, cell_depth = (value.float() for value in maps)
        centres, embeddings = policy.regions.maps(features, cell_depth)
        centre, named, size = proposal_loss(policy, batch, centres, embeddings)
        things = policy.propose(features, cell_depth, inputs.present)
        asked = batch.asked
        questions = policy.grounder.read(asked.text.tokens, asked.text.mask)
        matched = match(policy, batch, things)
        terms: Terms = {"centre": (centre, 0.3), "named": (named, 0.3), "size": (size, 0.3)}
        terms["told"] = self._told(questions, asked)
        terms |= grounding_terms(
            policy, self._config.objectives, questions, things, matched, asked, batch.table
        )
        if lesson is not None:
            each = SeenThings(*(v.repeat_interleave(asked.readable.shape[1], 0) for v in things))
            pointers = policy.grounder(questions, each).pointers
            apart = pointing_distance(pointers, things, lesson, asked.readable * (1 - asked.novel))
            terms["taught_pointing"] = (apart, self._config.pointing * self._config.teaching)
        return terms

    def _of_seen_scenes(self, count: int) -> Terms:
        """Return what the grounding makes of what frozen eyes saw."""
        policy, batcher = self._policy, self._batcher
        if not self._seen:
            aside = batcher.aside()  # a run that goes on looks again
            cache = self._config.output / "seen.safetensors"
            self._seen = SeenScenes.look_once(policy, aside, cache)
            if "grounder.read" in self._config.freeze:
                self._read = read_questions(policy, batcher)
        chosen = batcher.draw_images(count)
        without_depth = float(torch.rand(())) < DROPOUT[MODALITIES.index("depth_front")]
        things, matched = self._seen[without_depth].at(chosen)
        asked = batcher.asked(chosen)
        if self._read is None:
            questions: Tensor = policy.grounder.read(asked.text.tokens, asked.text.mask)
        else:
            questions = self._read[torch.from_numpy(chosen)].flatten(0, 1)
        table = batcher.table(chosen)
        objectives = self._config.objectives
        return {
            "told": self._told(questions, asked),
            **grounding_terms(policy, objectives, questions, things, matched, asked, table),
        }

    def _told(self, questions: Tensor, asked: AskedBatch) -> tuple[Tensor, float]:
        """Return how badly the question slots tell how the object is named, and its weight."""
        readable = asked.readable.flatten() > 0
        told = asked.told.flatten(0, 1)
        return self._classifier.told_loss(questions[readable], told[readable]), TOLD_WEIGHT

    def _maps(self, index: int, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return what a camera's encoder makes of its images."""
        policy = self._policy
        pose = policy.camera_pose(CAMERAS[index], inputs.state)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=not self.why_float32):
            return policy.map_of(
                index, inputs.rgb[index], inputs.depth[index], inputs.present, pose
            )

    def _look(
        self, index: int, batch: ImageBatch, maps: tuple[Tensor, Tensor], asked: _Asked
    ) -> tuple[Sighting, Tensor, Tensor]:
        """Return what a camera sees, and how wrong its attention and its points are."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=not self.why_float32):
            sighting = self._policy.vision[CAMERAS[index]](*maps, asked.queries)
        sighting = Sighting(*(value.float() for value in sighting))
        camera, pose = self._policy.config.cameras[CAMERAS[index]], batch.pose[index]
        local = (asked.things - pose[:, None, :3, 3]) @ pose[:, :3, :3]
        local = torch.where(asked.exists[..., None] > 0, local, torch.ones_like(local))
        visible = in_view(camera, local, batch.depth[index], asked.slack) * asked.exists
        return sighting, *sighting_loss(sighting, camera, local, visible)

    def _act(self, what: str, weight: float, batch: StateBatch, context: Context) -> Terms:
        """Return how far chunk and progress are from the demonstrations'."""
        action, progress = self._policy.head.loss(
            *context, batch.chunk, batch.progress, batch.imitate, batch.known
        )
        return {f"{what}_action": (action, weight), f"{what}_progress": (progress, 0.2 * weight)}

    def _taught(
        self, what: str, weight: float, batch: StateBatch, context: Context, taught: Action
    ) -> Terms:
        """Return how far chunk and progress are from the teacher's."""
        chance = torch.sigmoid(taught.progress)
        action, progress = self._policy.head.loss(*context, taught.chunk, chance, batch.imitate)
        weight *= self._config.teaching
        return {
            f"taught_{what}_action": (action, weight),
            f"taught_{what}_progress": (progress, 0.2 * weight),
        }

    def _inputs(self, batch: StateBatch, images: ImageBatch | None = None) -> Inputs:
        nothing = batch.state.new_zeros(0)
        return Inputs(
            rgb=images.rgb if images else (nothing, nothing),
            depth=images.depth if images else (nothing, nothing),
            imu=batch.imu,
            state=batch.state,
            slots=nothing,
            queries=nothing,
            anchor=imagine_anchor(batch.start, batch.has_target),
            present=batch.present,
        )


def _coin(like: Tensor) -> Tensor:
    """Return 0 or 1, each as likely, in the shape of a tensor."""
    return (torch.rand_like(like) < 0.5).to(like.dtype)
