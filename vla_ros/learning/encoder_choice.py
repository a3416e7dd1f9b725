"""Choosing encoders: a policy's configuration with other ones, checked before anything trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vla_ros.contract.features import DEPTHS, IMAGES, IMU
from vla_ros.contract.specs import RobotContract
from vla_ros.core.errors import UserError
from vla_ros.engine.language import LanguageEncoder
from vla_ros.policy.configuration import CAMERAS, CloudConfig, PolicyConfig
from vla_ros.policy.encoders import (
    find_depth_encoder,
    find_image_encoder,
    find_imu_encoder,
    find_language_encoder,
)
from vla_ros.policy.encoders.pretrained_image import require_tuning
from vla_ros.policy.encoders.vision_models import describe_vision

#: The table's surface is left out of a cloud: points begin this far above it [m].
ABOVE_TABLE_M = 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderChoice:
    """Names of encoders, as a user gives them.

    Attributes:
        image: One of `IMAGE_ENCODERS`.
        image_weights: Path or hub id of a vision model; for `pretrained` alone.
        image_tuning: What of it trains: `frozen`, `lora` or `full`.
        depth: One of `DEPTH_ENCODERS`.
        imu: One of `IMU_ENCODERS`.
    """

    image: str = "conv"
    image_weights: str = ""
    image_tuning: str = "frozen"
    depth: str = "channel"
    imu: str = "conv"


def with_encoders(
    config: PolicyConfig, choice: EncoderChoice, contract: RobotContract, language: Path
) -> PolicyConfig:
    """Return `config` with the chosen encoders, and with what a language encoder makes.

    Args:
        config: The architecture to change.
        choice: The encoders.
        contract: Of the robot, which says what is sensed and where the workspace is.
        language: Directory with language.onnx and tokenizer.json.

    Raises:
        UserError: if a name does not exist, if weights cannot be read, or if the robot does not
            sense what an encoder reads; names both sides.
    """
    find_image_encoder(choice.image)
    find_depth_encoder(choice.depth)
    find_imu_encoder(choice.imu)
    pretrained = choice.image == "pretrained"
    if pretrained != bool(choice.image_weights):
        raise UserError(
            f"image_encoder is {choice.image!r} and image_weights {choice.image_weights!r}; "
            "'pretrained' needs the path or hub id of a vision model, and the others none"
        )
    require_tuning(choice.image_tuning)
    chosen = replace(
        config,
        image_encoder=choice.image,
        image_weights=choice.image_weights,
        image_tuning=choice.image_tuning,
        image_model=describe_vision(choice.image_weights) if pretrained else None,
        depth_encoder=choice.depth,
        cloud=_cloud(contract) if choice.depth == "points" else None,
        imu_encoder=choice.imu,
    )
    require_sensed(chosen, contract)
    return with_language(chosen, language)


def with_language(config: PolicyConfig, directory: Path) -> PolicyConfig:
    """Return `config` for the token features that a directory's language encoder makes.

    Raises:
        BundleError: if the files are missing or no language encoder.
        UserError: if the encoder is of a kind that this version does not know.
    """
    encoder = LanguageEncoder(directory, cache_size=1)
    find_language_encoder(encoder.kind)
    return replace(
        config,
        language_encoder=encoder.kind,
        language_tokens=encoder.tokens,
        language_features=encoder.width,
    )


def require_sensed(config: PolicyConfig, contract: RobotContract) -> None:
    """Refuse a configuration that reads what a robot does not sense, or in another size.

    Raises:
        UserError: naming the feature and both sides.
    """
    sensed = {spec.feature: spec for spec in contract.observations}
    for feature, why in _wanted(config):
        if feature not in sensed:
            raise UserError(
                f"{why} reads {feature}, and the contract '{contract.name}' has "
                f"{', '.join(sensed)}; add it to the contract, or choose another encoder"
            )
    for spec in contract.observations:
        camera = config.cameras.get(spec.camera)
        if camera and (spec.width, spec.height) != (camera.width, camera.height):
            raise UserError(
                f"the policy reads {spec.feature} in {camera.width} x {camera.height} pixels, and "
                f"the contract '{contract.name}' has {spec.width} x {spec.height}"
            )


def _wanted(config: PolicyConfig) -> Iterator[tuple[str, str]]:
    """Yield features that an encoder cannot do without, and which encoder that is.

    The defaults read depth and IMU where they are, and do without them where they are not.
    """
    for camera in CAMERAS:
        yield IMAGES + camera, f"image_encoder {config.image_encoder!r}"
    if config.depth_encoder != "channel":
        yield DEPTHS + "front", f"depth_encoder {config.depth_encoder!r}"
    if config.imu_encoder != "conv":
        yield IMU, f"imu_encoder {config.imu_encoder!r}"


def _cloud(contract: RobotContract) -> CloudConfig:
    """Return the workspace without the table, as the box that points are read in."""
    box = contract.workspace
    if box is None:
        raise UserError(
            f"depth_encoder 'points' reads the points in the workspace, and the contract "
            f"'{contract.name}' has none; add action.workspace to it"
        )
    low, high = (tuple(float(value) for value in corner) for corner in (box.lower, box.upper))
    return CloudConfig(
        lower=(low[0], low[1], max(low[2], ABOVE_TABLE_M)), upper=(high[0], high[1], high[2])
    )
