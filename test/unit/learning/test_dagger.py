"""A learner that drives sees what it is trained on, and the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vla_ros.core.errors import UserError
from vla_ros.learning import dagger
from vla_ros.learning.collection import CollectionConfig, collect, missing_episodes
from vla_ros.learning.dagger import ImaginingDriver
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.imagined import imagine_anchor, imagine_points
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.rollouts import meta_of, positions_of
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.model import Policy
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import sample_scene


@pytest.fixture
def checkpoint(config: TrainingConfig) -> Path:
    """A checkpoint of which nothing is trained yet."""
    trainer = Trainer(config, tabletop_small())
    trainer.save()
    return trainer.checkpoint_path


def test_the_imagining_driver_sees_containers_where_training_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, torch.Tensor] = {}

    def keep_points(policy: Policy, state: torch.Tensor, *rest: torch.Tensor) -> object:
        seen["points"] = torch.stack(rest[:2], 1)[0]
        return imagine_points(policy, state, *rest)

    def keep_anchor(start: torch.Tensor, has_target: torch.Tensor) -> torch.Tensor:
        seen["anchor"] = start[0]
        return imagine_anchor(start, has_target)

    monkeypatch.setattr(dagger, "imagine_points", keep_points)
    monkeypatch.setattr(dagger, "imagine_anchor", keep_anchor)
    environment = Environment(cameras=())
    environment.reset(sample_scene(seed=1, skill="place"))
    table = environment.table
    driver = ImaginingDriver(
        Policy(tabletop_small()).eval(), torch.zeros(1, 4, 128), np.random.default_rng(0), 0.0
    )
    driver(table, np.zeros((10, 6)))
    meta = meta_of(table, imitate=True)
    asked = positions_of(table)[[int(meta["named"]), int(meta["target"])]]
    for where in ("points", "anchor"):
        np.testing.assert_allclose(seen[where], asked, atol=1e-6, err_msg=where)
        assert seen[where][1, 2] == pytest.approx(0.01), "what the shards keep of a container"
    environment.close()


def test_an_episode_that_a_checkpoint_drives_is_the_same_whatever_is_played_before(
    checkpoint: Path, language_files: Path, tmp_path: Path
) -> None:
    after_another = CollectionConfig(
        directory=tmp_path / "both",
        episodes=2,
        first_seed=70,
        image_probability=0.0,
        policy=checkpoint,
        language=language_files,
    )
    alone = replace(after_another, directory=tmp_path / "one", episodes=1, first_seed=71)
    for config in (after_another, alone):
        assert sum(episodes for episodes, _ in collect(config, workers=1)) == config.episodes
    both, one = (Demonstrations.load([c.directory]).states for c in (after_another, alone))
    rows = both["episode"] == 1
    np.testing.assert_array_equal(both["state"][rows], one["state"])
    np.testing.assert_array_equal(both["chunk"][rows], one["chunk"])

    checkpoint.write_bytes(checkpoint.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"collected with other settings: policy is \w{12}…, was"):
        missing_episodes(after_another)


def test_a_checkpoint_drives_with_the_encoder_that_it_was_trained_with(
    checkpoint: Path, other_language: Path, tmp_path: Path
) -> None:
    config = CollectionConfig(
        directory=tmp_path / "data", episodes=1, policy=checkpoint, language=other_language
    )
    with pytest.raises(UserError, match=r"is not the language encoder .*tokenizer\.json is"):
        list(collect(config, workers=1))
    assert not config.directory.exists()
