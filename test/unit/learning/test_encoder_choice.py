"""Choosing encoders: names and sensors are checked first, and training keeps what is frozen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import policy_from_checkpoint
from vla_ros.learning.encoder_choice import EncoderChoice, require_sensed, with_encoders
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.configuration import CloudConfig, PolicyConfig


@pytest.fixture(scope="module")
def contract() -> RobotContract:
    return load_contract("tabletop_sim")


@pytest.fixture
def vision_model(tmp_path: Path) -> Path:
    """A small DINOv2 with random weights."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Dinov2Config(**sizes, image_size=32, patch_size=8)
    torch.manual_seed(7)
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "dinov2")
    return tmp_path / "dinov2"


def without(contract: RobotContract, *features: str) -> RobotContract:
    kept = tuple(spec for spec in contract.observations if spec.feature not in features)
    return replace(contract, observations=kept)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def choose(contract: RobotContract, language: Path, **names: str) -> PolicyConfig:
    return with_encoders(tabletop_small(), EncoderChoice(**names), contract, language)


def test_the_default_is_the_shipped_policy(contract: RobotContract, language_files: Path) -> None:
    assert choose(contract, language_files) == tabletop_small()


def test_points_are_read_in_the_workspace_above_the_table(
    contract: RobotContract, language_files: Path
) -> None:
    config = choose(contract, language_files, depth="points")
    assert config.cloud == CloudConfig(lower=(-0.1, -0.4, 0.004), upper=(0.5, 0.4, 0.5))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"image": "cnn"},
            "image_encoder 'cnn' does not exist; choose one of conv, vit, pretrain",
        ),
        ({"depth": "voxels"}, "depth_encoder 'voxels' does not exist; choose one of channel, own"),
        ({"imu": "lstm"}, "imu_encoder 'lstm' does not exist; choose one of conv, gru"),
        ({"image_tuning": "some"}, "image_tuning 'some' does not exist; choose one of frozen"),
        ({"image": "pretrained"}, "'pretrained' needs the path or hub id of a vision model"),
        ({"image_weights": "a/b"}, "image_encoder is 'conv' and image_weights 'a/b'"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused(
    contract: RobotContract, language_files: Path, names: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        choose(contract, language_files, **names)


@pytest.mark.parametrize(
    ("names", "feature", "encoder"),
    [
        ({"depth": "own"}, "observation.depth.front", "depth_encoder 'own'"),
        ({"depth": "points"}, "observation.depth.front", "depth_encoder 'points'"),
        ({"imu": "gru"}, "observation.imu", "imu_encoder 'gru'"),
        ({}, "observation.images.wrist", "image_encoder 'conv'"),
    ],
)
def test_a_sensor_that_the_contract_lacks_is_named_with_what_it_has(
    contract: RobotContract,
    language_files: Path,
    names: dict[str, str],
    feature: str,
    encoder: str,
) -> None:
    with pytest.raises(
        UserError,
        match=f"{encoder} reads {feature}, and the contract 'tabletop_sim' has observation.images",
    ):
        choose(without(contract, feature), language_files, **names)


def test_the_shipped_encoders_do_without_depth_and_imu(
    contract: RobotContract, language_files: Path
) -> None:
    bare = without(
        contract, "observation.depth.front", "observation.depth.wrist", "observation.imu"
    )
    assert choose(bare, language_files) == tabletop_small()


def test_points_need_a_workspace(contract: RobotContract, language_files: Path) -> None:
    endless = replace(contract, action=replace(contract.action, workspace=None))
    with pytest.raises(UserError, match=r"'tabletop_sim' has none; add action\.workspace to it"):
        choose(endless, language_files, depth="points")


def test_images_of_another_size_are_refused(contract: RobotContract) -> None:
    config = tabletop_small()
    front = replace(config.cameras["front"], width=64, height=64)
    smaller = replace(config, cameras={**config.cameras, "front": front})
    with pytest.raises(UserError, match=r"images\.front in 64 x 64 pixels, and .* has 128 x 128"):
        require_sensed(smaller, contract)


def test_training_begins_with_the_published_weights_and_keeps_what_is_frozen(
    contract: RobotContract, config: TrainingConfig, vision_model: Path
) -> None:
    import transformers

    published = transformers.AutoModel.from_pretrained(vision_model).state_dict()
    chosen = choose(contract, config.language, image="pretrained", image_weights=str(vision_model))
    trainer = Trainer(replace(config, steps=1), chosen)
    before = copied(trainer.policy.vision.get_submodule("front.trunk"))
    assert len(list(trainer.run())) == 1
    after = trainer.policy.vision.get_submodule("front.trunk").state_dict()
    moved = {name for name, value in after.items() if not value.equal(before[name])}
    assert {"norm.weight", "project.weight", "place.0.weight", "join.weight"} <= moved
    assert not [name for name in moved if name.startswith("backbone.")]

    for path in vision_model.iterdir():
        path.unlink()  # a checkpoint is read without them
    weights = policy_from_checkpoint(trainer.checkpoint_path).state_dict()
    for name, value in published.items():
        if "mask_token" not in name:
            for camera in ("front", "wrist"):
                assert value.equal(weights[f"vision.{camera}.trunk.backbone.{name}"]), name


def test_weights_that_are_gone_are_named_before_training(
    contract: RobotContract, config: TrainingConfig, vision_model: Path
) -> None:
    chosen = choose(contract, config.language, image="pretrained", image_weights=str(vision_model))
    (vision_model / "config.json").unlink()
    with pytest.raises(UserError, match=r"holds no model, since config\.json is missing"):
        Trainer(config, chosen)


def test_going_on_with_another_encoder_is_refused(
    contract: RobotContract, config: TrainingConfig
) -> None:
    list(Trainer(replace(config, steps=1), tabletop_small()).run())
    other = choose(contract, config.language, imu="gru", image="vit")
    with pytest.raises(UserError, match="image_encoder is vit, was conv; imu_encoder is gru, was"):
        Trainer(config, other)


def test_another_encoders_policy_is_started_from_and_what_is_new_is_listed(
    contract: RobotContract, config: TrainingConfig
) -> None:
    shipped = Trainer(replace(config, steps=1), tabletop_small())
    list(shipped.run())
    output = config.output.with_name("started")
    output.mkdir()
    (output / "sentences.npz").hardlink_to(config.output / "sentences.npz")
    begun = replace(config, output=output, start=shipped.checkpoint_path)
    trainer = Trainer(begun, choose(contract, config.language, imu="gru"))
    assert {name.split(".")[1] for name in trainer.fresh} == {"imu_embed"}


def test_points_are_read_in_training_as_they_are_in_the_running_policy(
    contract: RobotContract, config: TrainingConfig
) -> None:
    pytest.importorskip("open3d")  # of requirements/points.txt, which `make test-all` installs
    trainer = Trainer(replace(config, steps=1), choose(contract, config.language, depth="points"))
    encoder = trainer.policy.cloud
    assert encoder is not None
    before = copied(encoder)
    list(trainer.run())
    batch = trainer._losses._batcher.images(2, 1)
    cloud = trainer._losses._read_cloud(batch)
    assert cloud is not None
    assert cloud.points.shape == (2, 512, 6)
    assert (cloud.mask.sum(1) > 50).all()
    assert not [name for name, value in encoder.state_dict().items() if value.equal(before[name])]
