"""The terms of the loss, on batches of sentences, bare states and rendered states."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vla_ros.learning.batches import Batcher, ImageBatch, StateBatch
from vla_ros.learning.imagined import imagine_anchor, imagine_points
from vla_ros.learning.objectives import SlotClassifier, action_loss, in_view, sighting_loss
from vla_ros.learning.precision import why_not_bfloat16
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.configuration import CAMERAS
from vla_ros.policy.model import Inputs, Points, Policy
from vla_ros.policy.vision import Sighting

TEXTS = 160  # sentences per step that train the reading of sentences by itself
GRIPPER_SLACK_M = 0.05  # how far the gripper's surface may stand before the tcp

#: Each term with its weight, 0 where it is only reported.
Terms = dict[str, tuple[Tensor, float]]


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
        self, config: TrainingConfig, policy: Policy, classifier: SlotClassifier, batcher: Batcher
    ) -> None:
        """Compute the losses of the networks on the batcher's batches."""
        self._config, self._batcher = config, batcher
        self._policy, self._classifier = policy, classifier
        #: Why images are seen in float32; "" if they are seen in bfloat16.
        self.why_float32 = why_not_bfloat16()

    def __call__(self) -> Terms:
        """Return the terms of one step."""
        config, batcher = self._config, self._batcher
        terms: Terms = {}
        text = batcher.texts(TEXTS)
        loss, accuracy = self._classifier.loss(
            self._policy.language(text.tokens, text.mask), text.labels
        )
        terms["text"], terms["text_accuracy"] = (loss, 0.2), (accuracy, 0.0)
        if config.episodes:
            terms |= self._of_states(batcher.states(config.episodes, config.states_per_episode))
        if config.images:
            terms |= self._of_images(batcher.images(config.images, config.sentences_per_image))
        return terms

    def _of_states(self, batch: StateBatch) -> Terms:
        slots = self._policy.language(batch.text.tokens, batch.text.mask)
        slots = slots.repeat_interleave(batch.repeat, 0)
        points = imagine_points(
            self._policy, batch.state, batch.item, batch.target, batch.has_target
        )
        imitation, progress = self._act(batch, slots, points)
        return {"state_action": (imitation, 1.0), "state_progress": (progress, 0.2)}

    def _of_images(self, batch: ImageBatch) -> Terms:
        count, per_image = len(batch.things), batch.per_image
        slots = self._policy.language(batch.queries.tokens, batch.queries.mask)
        slots = slots.view(count, per_image, *slots.shape[1:])  # (B, Q, 4, W)
        inputs = self._inputs(batch.state, batch)
        terms: Terms = {}
        own = {}
        for index, name in enumerate(CAMERAS):
            asked = self._asked(batch, slots, gripper=name == "front")
            sighting, attention, location = self._look(index, batch, inputs, asked)
            terms[f"attention_{name}"] = (attention, 0.5)
            terms[f"location_{name}"] = (location, 0.3)
            keep = [0, 1, -1] if name == "front" else [0, 1]
            own[name] = Sighting(*(value[:, keep] for value in sighting))
        if not (self._config.episodes and batch.state.imitate.any()):
            return terms
        points = self._policy.to_base(own, inputs)
        imitation, progress = self._act(batch.state, slots[:, 0], points)
        terms["image_action"], terms["image_progress"] = (imitation, 0.5), (progress, 0.1)
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
            torch.cat([exists, torch.ones(count, 1)], 1),
            torch.cat([slack, torch.full((count, 1), GRIPPER_SLACK_M)], 1),
        )

    def _look(
        self, index: int, batch: ImageBatch, inputs: Inputs, asked: _Asked
    ) -> tuple[Sighting, Tensor, Tensor]:
        """Return what a camera sees, and how wrong its attention and its points are."""
        with torch.autocast("cpu", torch.bfloat16, enabled=not self.why_float32):
            sighting = self._policy.see(inputs, index, asked.queries)
        sighting = Sighting(*(value.float() for value in sighting))
        camera, pose = self._policy.config.cameras[CAMERAS[index]], batch.pose[index]
        local = (asked.things - pose[:, None, :3, 3]) @ pose[:, :3, :3]
        local = torch.where(asked.exists[..., None] > 0, local, torch.ones_like(local))
        visible = in_view(camera, local, batch.depth[index], asked.slack) * asked.exists
        return sighting, *sighting_loss(sighting, camera, local, visible)

    def _act(
        self, batch: StateBatch, slots: Tensor, points: dict[str, Points]
    ) -> tuple[Tensor, Tensor]:
        action = self._policy.act(self._inputs(batch), slots, points)
        scale = self._policy.head.scale
        return action_loss(action, batch.chunk, batch.progress, scale, batch.imitate)

    def _inputs(self, batch: StateBatch, images: ImageBatch | None = None) -> Inputs:
        nothing = torch.zeros(0)
        return Inputs(
            rgb=images.rgb if images else (nothing, nothing),
            depth=images.depth if images else (nothing, nothing),
            imu=batch.imu,
            state=batch.state,
            language=nothing,
            language_mask=nothing,
            anchor=imagine_anchor(batch.start, batch.has_target),
            present=batch.present,
        )
