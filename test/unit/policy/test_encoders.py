"""Every encoder: conformance, the policies built with it, and what is wrong when it is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from vla_ros.core.errors import UserError
from vla_ros.learning.recipes import tabletop_small
from vla_ros.policy.configuration import CloudConfig, PolicyConfig
from vla_ros.policy.deployed import Deployed, example_inputs
from vla_ros.policy.encoders import (
    ConvImageEncoder,
    ConvImuEncoder,
    GruImuEncoder,
    OwnDepth,
    PointEncoder,
    PretrainedImageEncoder,
    ViTImageEncoder,
    find_depth_encoder,
    find_image_encoder,
    find_imu_encoder,
    find_language_encoder,
    load_image_weights,
)
from vla_ros.policy.encoders.pretrained_image import TUNINGS
from vla_ros.policy.encoders.vision_models import describe_vision
from vla_ros.policy.model import Policy
from vla_ros.testing.encoder_conformance import (
    DepthMapConformance,
    ImageEncoderConformance,
    ImuEncoderConformance,
    PointEncoderConformance,
    make_stack,
)

CONFIG = tabletop_small()
FRONT = CONFIG.cameras["front"]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
KINDS = ("clip", "siglip", "dinov2", "dinov2_with_registers")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vision_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models of every kind with random weights, in folders as `transformers` writes them."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    feedforward = SIZES | {"intermediate_size": 32}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
    text |= {"bos_token_id": 0, "eos_token_id": 1, "intermediate_size": 16}
    models = {
        "clip": transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text, vision_config=feedforward, projection_dim=8)
        ),
        "siglip": transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**feedforward)),
        "dinov2": transformers.Dinov2Model(transformers.Dinov2Config(**SIZES)),
        "dinov2_with_registers": transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**SIZES, num_register_tokens=2)
        ),
    }
    folders = {kind: tmp_path_factory.mktemp("models") / kind for kind in models}
    for kind, model in models.items():
        model.save_pretrained(folders[kind])
    return folders


def pretrained(folder: Path, tuning: str = "frozen") -> PolicyConfig:
    return replace(
        CONFIG,
        image_encoder="pretrained",
        image_weights=str(folder),
        image_tuning=tuning,
        image_model=describe_vision(str(folder)),
    )


class TestConvImage(ImageEncoderConformance):
    config = CONFIG

    def make_encoder(self) -> nn.Module:
        return ConvImageEncoder(CONFIG, FRONT)


class TestViT(ImageEncoderConformance):
    config = CONFIG

    def make_encoder(self) -> nn.Module:
        return ViTImageEncoder(CONFIG, FRONT)


class PretrainedConformance(ImageEncoderConformance):
    """Of a small model of one kind, tuned in one way."""

    config = CONFIG
    kind = "clip"
    tuning = "frozen"

    @pytest.fixture(autouse=True)
    def _find_model(self, vision_models: dict[str, Path]) -> None:
        self._folder = vision_models[self.kind]

    def make_encoder(self) -> nn.Module:
        encoder = PretrainedImageEncoder(pretrained(self._folder, self.tuning), FRONT)
        load_image_weights(encoder, str(self._folder))
        return encoder


class TestFrozenClip(PretrainedConformance):
    kind = "clip"


class TestAdaptedSiglip(PretrainedConformance):
    kind, tuning = "siglip", "lora"


class TestFullyTunedDino(PretrainedConformance):
    kind, tuning = "dinov2", "full"


class TestOwnDepth(DepthMapConformance):
    config = CONFIG

    def make_encoder(self) -> nn.Module:
        return OwnDepth(CONFIG, FRONT)


class TestPoints(PointEncoderConformance):
    width, count = 32, 4

    def make_encoder(self) -> nn.Module:
        return PointEncoder(self.width)


class TestConvImu(ImuEncoderConformance):
    config = CONFIG

    def make_encoder(self) -> nn.Module:
        return ConvImuEncoder(CONFIG)


class TestGruImu(ImuEncoderConformance):
    config = CONFIG

    def make_encoder(self) -> nn.Module:
        return GruImuEncoder(CONFIG)


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_patch_features_are_those_of_the_published_model(
    vision_models: dict[str, Path], kind: str, tuning: str
) -> None:
    import transformers

    encoder = PretrainedImageEncoder(pretrained(vision_models[kind], tuning), FRONT).eval()
    load_image_weights(encoder, str(vision_models[kind]))
    whole = transformers.AutoModel.from_pretrained(vision_models[kind]).eval()
    colour = make_stack(CONFIG, 0, 2)[:, :3]
    pixels = ((colour + 1) / 2 - encoder.mean) / encoder.std
    pixels = nn.functional.interpolate(pixels, (32, 32), mode="bilinear")
    with torch.no_grad():
        found = encoder._patches(colour)
        published = getattr(whole, "vision_model", whole)(pixel_values=pixels).last_hidden_state

    torch.testing.assert_close(found, published[:, -16:])


@pytest.mark.parametrize("kind", KINDS)
def test_how_it_is_tuned_decides_what_trains(vision_models: dict[str, Path], kind: str) -> None:
    learning = {}
    for tuning in TUNINGS:
        encoder = PretrainedImageEncoder(pretrained(vision_models[kind], tuning), FRONT).train()
        names = [name for name, value in encoder.named_parameters() if value.requires_grad]
        learning[tuning] = [name for name in names if name.startswith("backbone.")]
        assert encoder.backbone.training == (tuning == "full")
        assert {name.split(".")[0] for name in names} >= {"norm", "project", "place", "join"}
    assert learning["frozen"] == []
    assert len(learning["lora"]) == 2 * 2 * SIZES["num_hidden_layers"]
    assert all("lora_" in name for name in learning["lora"])
    whole = PretrainedImageEncoder(pretrained(vision_models[kind], "full"), FRONT)
    assert len(learning["full"]) == len(list(whole.backbone.parameters()))


def test_a_larger_model_is_read_at_a_smaller_size_with_its_positions_resampled(
    tmp_path: Path,
) -> None:
    import transformers

    sizes = SIZES | {"image_size": 518, "patch_size": 14}
    model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes))
    with torch.no_grad():
        rows = torch.arange(37.0).repeat_interleave(37)
        model.embeddings.position_embeddings[0, 1:] = rows[:, None]
    model.save_pretrained(tmp_path)
    config = pretrained(tmp_path)
    encoder = PretrainedImageEncoder(config, FRONT)
    load_image_weights(encoder, str(tmp_path))

    positions = encoder.backbone.get_submodule("embeddings").position_embeddings
    assert isinstance(positions, torch.Tensor)
    assert config.image_model is not None
    assert config.image_model["config"]["image_size"] == 224
    assert positions.shape == (1, 1 + 16 * 16, 16)
    torch.testing.assert_close(positions[0, 0], model.embeddings.position_embeddings[0, 0])
    down = positions[0, 1:, 0].view(16, 16)
    torch.testing.assert_close(down, down[:, :1].expand(16, 16))
    assert (down[1:, 0] - down[:-1, 0] > 1.5).all()


def test_colours_are_standardized_as_the_models_own_files_say(
    vision_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in vision_models["clip"].iterdir():
        (folder / file.name).symlink_to(file)
    colours = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))

    encoder = PretrainedImageEncoder(pretrained(folder), FRONT)

    assert encoder.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert encoder.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])


def policies(vision_models: dict[str, Path]) -> dict[str, PolicyConfig]:
    cloud = CloudConfig(lower=(-0.1, -0.4, 0.004), upper=(0.5, 0.4, 0.5), count=64)
    return {
        "vit": replace(CONFIG, image_encoder="vit"),
        "pretrained": pretrained(vision_models["siglip"], "lora"),
        "own": replace(CONFIG, depth_encoder="own"),
        "points": replace(CONFIG, depth_encoder="points", cloud=cloud),
        "gru": replace(CONFIG, imu_encoder="gru"),
    }


@pytest.mark.parametrize("name", ["vit", "pretrained", "own", "points", "gru"])
def test_every_encoder_makes_a_policy_that_survives_its_configuration(
    vision_models: dict[str, Path], name: str
) -> None:
    config = policies(vision_models)[name]
    again = PolicyConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    torch.manual_seed(0)
    policy = Policy(config).eval()
    other = Policy(again).eval()
    other.load_state_dict(policy.state_dict())
    inputs = example_inputs(config)
    with torch.no_grad():
        chunk, other_chunk = (Deployed(p)(*inputs)[0] for p in (policy, other))
    assert chunk.shape == (1, config.horizon, config.n_joints)
    assert torch.isfinite(chunk).all()
    assert torch.equal(chunk, other_chunk)


@pytest.mark.parametrize("name", ["own", "points"])
def test_masked_depth_cannot_change_the_action_at_all(
    vision_models: dict[str, Path], name: str
) -> None:
    config = policies(vision_models)[name]
    torch.manual_seed(0)
    deployed = Deployed(Policy(config)).eval()
    inputs, other = (list(example_inputs(config, seed)) for seed in (0, 1))
    inputs[9][0, 2:4] = 0.0  # neither camera has depth
    changed = [*inputs]
    for index in (1, 3, *range(10, len(inputs))):
        changed[index] = other[index]
    with torch.no_grad():
        outputs, same = deployed(*inputs), deployed(*changed)
    assert all(torch.equal(*pair) for pair in zip(outputs, same, strict=True))


def test_points_that_were_measured_change_the_action(vision_models: dict[str, Path]) -> None:
    config = policies(vision_models)["points"]
    torch.manual_seed(0)
    deployed = Deployed(Policy(config)).eval()
    inputs, other = (example_inputs(config, seed) for seed in (0, 1))
    with torch.no_grad():
        before, after = deployed(*inputs)[0], deployed(*inputs[:10], *other[10:])[0]
    assert (before - after).abs().max() > 1e-5


def test_the_shipped_encoders_keep_the_names_of_their_weights() -> None:
    names = set(Policy(CONFIG).state_dict())
    assert {"vision.front.trunk.0.weight", "vision.wrist.trunk.10.body.4.weight"} <= names
    assert {"imu_embed.0.weight", "imu_embed.5.bias"} <= names
    assert not [name for name in names if "depth_encoder" in name or name.startswith("cloud")]


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (find_image_encoder, "image_encoder 'x' does not exist; choose one of conv, vit, pretr"),
        (find_depth_encoder, "depth_encoder 'x' does not exist; choose one of channel, own, poin"),
        (find_imu_encoder, "imu_encoder 'x' does not exist; choose one of conv, gru"),
        (find_language_encoder, "language_encoder 'x' does not exist; choose one of minilm, clip"),
    ],
)
def test_an_unknown_encoder_lists_what_exists(find: object, message: str) -> None:
    assert callable(find)
    with pytest.raises(UserError, match=message):
        find("x")


def test_an_unknown_tuning_lists_what_exists(vision_models: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="'half' does not exist; choose one of frozen, lora, full"):
        PretrainedImageEncoder(pretrained(vision_models["clip"], "half"), FRONT)


def test_a_pretrained_encoder_without_its_architecture_is_refused() -> None:
    with pytest.raises(UserError, match="image_weights 'some/model' lacks image_model"):
        Policy(replace(CONFIG, image_encoder="pretrained", image_weights="some/model"))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"holds no model, since config\.json is missing; image_wei"
    ):
        describe_vision(str(tmp_path))
    with pytest.raises(UserError, match="or a hub id, of one of: clip, siglip, clip_vision_model"):
        describe_vision(str(tmp_path / "nowhere"))


def test_a_folder_that_is_not_there_is_not_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(UserError, match=r"models/clip: holds no model, since config\.json is mis"):
        describe_vision("models/clip")


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def fail(source: str) -> None:
        raise OSError(f"We couldn't connect to the hub to load {source}")

    monkeypatch.setattr(transformers.PreTrainedConfig, "get_config_dict", fail)
    with pytest.raises(UserError, match="some/model: no model can be read there: We couldn't con"):
        describe_vision("some/model")


def test_a_broken_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="no model can be read there: Expecting property name"):
        describe_vision(str(tmp_path))


def test_a_model_of_another_kind_is_refused_and_both_sides_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(
        UserError, match=r"a model of kind 't5', and image_weights reads clip, sigl"
    ):
        describe_vision(str(tmp_path))


def test_weights_of_another_kind_are_refused(vision_models: dict[str, Path]) -> None:
    encoder = PretrainedImageEncoder(pretrained(vision_models["clip"]), FRONT)
    with pytest.raises(
        UserError, match="kind 'dinov2', and the policy was made for 'clip_vision_"
    ):
        encoder.load_weights(str(vision_models["dinov2"]))


def test_weights_of_another_size_are_refused(
    vision_models: dict[str, Path], tmp_path: Path
) -> None:
    import transformers

    wider = transformers.Dinov2Config(**SIZES | {"hidden_size": 24})
    transformers.Dinov2Model(wider).save_pretrained(tmp_path)
    encoder = PretrainedImageEncoder(pretrained(vision_models["dinov2"]), FRONT)
    with pytest.raises(UserError, match=r"has shape \(1, 1, 24\), expected \(1, 1, 16\)"):
        encoder.load_weights(str(tmp_path))


def test_a_folder_without_weights_is_refused(
    vision_models: dict[str, Path], tmp_path: Path
) -> None:
    config = (vision_models["dinov2"] / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    encoder = PretrainedImageEncoder(pretrained(tmp_path), FRONT)
    with pytest.raises(UserError, match="image_weights cannot load a Dinov2Model from it"):
        encoder.load_weights(str(tmp_path))


def test_a_missing_package_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        UserError, match=r"package 'transformers', which is not installed; run `ma"
    ):
        describe_vision(str(tmp_path))
