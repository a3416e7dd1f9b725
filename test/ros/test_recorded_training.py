"""Recorded episodes reach training as the running policy would see them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vla_ros.learning.checkpoints import policy_from_checkpoint
from vla_ros.learning.clouds import CloudReader
from vla_ros.learning.recorded import RecordedBatch, Recordings
from vla_ros.learning.recorded_losses import recorded_terms
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.model import Policy
from vla_ros.testing.recordings import record_simulated

SEEDS = (950_000_000, 950_000_001, 950_000_002)


@pytest.fixture
def batch(tmp_path: Path, shipped: Path) -> RecordedBatch:
    """States of recorded experts."""
    record_simulated(tmp_path / "recording", SEEDS, skill="lift")
    config = TrainingConfig(
        data=(),
        recordings=(tmp_path / "recording",),
        output=tmp_path / "run",
        language=shipped,
        images=0,
        episodes=0,
    )
    policy = policy_from_checkpoint(shipped)
    return next(Recordings(config, policy.config).batches(24, (0,), torch.device("cpu")))


@pytest.fixture
def shipped() -> Path:
    return Path(__file__).parents[2] / "models/tabletop-small"


def test_a_good_policy_does_about_what_recorded_experts_did_if_it_sees_what_they_saw(
    batch: RecordedBatch, shipped: Path
) -> None:
    policy = policy_from_checkpoint(shipped)

    @torch.no_grad()
    def error(seen: RecordedBatch, policy: Policy) -> float:
        return float(
            recorded_terms(policy, seen, CloudReader(policy.config))["recorded_action"][0]
        )

    now = batch.now._replace(rgb=_mixed(batch.now.rgb), depth=_mixed(batch.now.depth))
    begun = batch.beginning
    begun = begun._replace(rgb=_mixed(begun.rgb), depth=_mixed(begun.depth))
    right = error(batch, policy)
    assert right < 0.2, "in units of the demonstrations' spread"
    assert right < 0.6 * error(batch._replace(now=now, beginning=begun), policy)


def _mixed(pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Give every state the pictures of another one."""
    front, wrist = (each.flip(0) for each in pair)
    return front, wrist
