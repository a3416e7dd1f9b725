"""Whatever trains computes where its batch is: no tensor is made elsewhere, such as on the CPU."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from vla_ros.learning.batch_types import ImageBatch, StateBatch, TextBatch, moved
from vla_ros.learning.batches import Batcher
from vla_ros.learning.precision import why_not_bfloat16
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.fusion import FUSIONS
from vla_ros.policy.heads import HEADS


class Drawn(Batcher):
    """Hands out batches that were drawn before."""

    def __init__(self, trainer: Trainer, batcher: Batcher) -> None:
        config = trainer.config
        self.kept = (
            batcher.texts(config.texts),
            batcher.states(config.episodes, config.states_per_episode),
            batcher.images(config.images, config.sentences_per_image),
        )

    def texts(self, count: int) -> TextBatch:
        return self.kept[0]

    def states(self, episodes: int, repeat: int) -> StateBatch:
        return self.kept[1]

    def images(self, count: int, per_image: int) -> ImageBatch:
        return self.kept[2]


@pytest.mark.parametrize(
    ("fusion", "head"),
    [*((fusion, "l1") for fusion in FUSIONS), *(("early", head) for head in HEADS)],
)
def test_every_tensor_of_a_step_is_made_where_the_batch_is(
    config: TrainingConfig, fusion: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "as_tensor", lambda value: value)  # which moves nothing elsewhere
    trainer = Trainer(config, replace(tabletop_small(), fusion=fusion, head=head))
    losses = trainer._losses
    losses._batcher = Drawn(trainer, losses._batcher)
    with torch.device("meta"):  # where tensors are made that are told no other place
        terms = losses()
    assert "image_action" in terms or "location_front" in terms
    for key, (value, _) in terms.items():
        assert value.device.type == "cpu", key
        assert math.isfinite(float(value.detach())), key


def test_a_batch_is_moved_with_everything_in_it(config: TrainingConfig) -> None:
    trainer = Trainer(config, tabletop_small())
    batch = moved(trainer._losses._batcher.images(2, 2), torch.device("meta"))
    tensors = [value for value in flat(batch) if isinstance(value, torch.Tensor)]
    assert len(tensors) > 30
    assert {value.device.type for value in tensors} == {"meta"}
    assert isinstance(batch, ImageBatch)
    assert isinstance(batch.state, StateBatch)
    assert batch.per_image == 2


def flat(value: object) -> list[object]:
    return [x for entry in value for x in flat(entry)] if isinstance(value, tuple) else [value]


def test_other_devices_have_their_own_say_in_the_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert why_not_bfloat16(cuda) == ""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert why_not_bfloat16(cuda) == "this GPU does not compute in bfloat16"
    assert why_not_bfloat16(torch.device("mps")) == "bfloat16 was never tried on mps"
