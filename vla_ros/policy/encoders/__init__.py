"""From what is sensed and said to tokens and masks: one module per encoder, chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from vla_ros.core.errors import UserError
from vla_ros.policy.configuration import CameraGeometry, PolicyConfig
from vla_ros.policy.encoders.clip_text import CLIP_TEXT
from vla_ros.policy.encoders.conv_image import ConvImageEncoder
from vla_ros.policy.encoders.conv_imu import ConvImuEncoder
from vla_ros.policy.encoders.depth import DepthChannel, DepthEncoder
from vla_ros.policy.encoders.gru_imu import GruImuEncoder
from vla_ros.policy.encoders.image import CELLS, ImageEncoder
from vla_ros.policy.encoders.imu import ImuEncoder
from vla_ros.policy.encoders.language import LanguageKind, LanguageModel
from vla_ros.policy.encoders.minilm_text import MINILM
from vla_ros.policy.encoders.own_depth import OwnDepth
from vla_ros.policy.encoders.points import CloudBatch, DepthAsPoints, PointEncoder
from vla_ros.policy.encoders.pretrained_image import PretrainedImageEncoder, load_image_weights
from vla_ros.policy.encoders.t5_text import T5
from vla_ros.policy.encoders.vit import ViTImageEncoder

Built = TypeVar("Built")

IMAGE_ENCODERS: dict[str, Callable[[PolicyConfig, CameraGeometry], ImageEncoder]] = {
    "conv": ConvImageEncoder,
    "vit": ViTImageEncoder,
    "pretrained": PretrainedImageEncoder,
}
DEPTH_ENCODERS: dict[str, Callable[[PolicyConfig, CameraGeometry], DepthEncoder]] = {
    "channel": DepthChannel,
    "own": OwnDepth,
    "points": DepthAsPoints,
}
IMU_ENCODERS: dict[str, Callable[[PolicyConfig], ImuEncoder]] = {
    "conv": ConvImuEncoder,
    "gru": GruImuEncoder,
}
LANGUAGE_ENCODERS: dict[str, LanguageKind] = {"minilm": MINILM, "clip": CLIP_TEXT, "t5": T5}


def find_image_encoder(name: str) -> Callable[[PolicyConfig, CameraGeometry], ImageEncoder]:
    """Return what builds an image encoder.

    Raises:
        UserError: if there is none of this name; lists those there are.
    """
    return _find("image_encoder", name, IMAGE_ENCODERS)


def find_depth_encoder(name: str) -> Callable[[PolicyConfig, CameraGeometry], DepthEncoder]:
    """Return what builds a depth encoder.

    Raises:
        UserError: if there is none of this name; lists those there are.
    """
    return _find("depth_encoder", name, DEPTH_ENCODERS)


def find_imu_encoder(name: str) -> Callable[[PolicyConfig], ImuEncoder]:
    """Return what builds an IMU encoder.

    Raises:
        UserError: if there is none of this name; lists those there are.
    """
    return _find("imu_encoder", name, IMU_ENCODERS)


def find_language_encoder(name: str) -> LanguageKind:
    """Return a kind of language encoder.

    Raises:
        UserError: if there is none of this name; lists those there are.
    """
    return _find("language_encoder", name, LANGUAGE_ENCODERS)


def _find(setting: str, name: str, registry: Mapping[str, Built]) -> Built:
    if name not in registry:
        raise UserError(f"{setting} {name!r} does not exist; choose one of {', '.join(registry)}")
    return registry[name]


__all__ = [
    "CELLS",
    "DEPTH_ENCODERS",
    "IMAGE_ENCODERS",
    "IMU_ENCODERS",
    "LANGUAGE_ENCODERS",
    "CloudBatch",
    "ConvImageEncoder",
    "ConvImuEncoder",
    "DepthAsPoints",
    "DepthChannel",
    "DepthEncoder",
    "GruImuEncoder",
    "ImageEncoder",
    "ImuEncoder",
    "LanguageKind",
    "LanguageModel",
    "OwnDepth",
    "PointEncoder",
    "PretrainedImageEncoder",
    "ViTImageEncoder",
    "find_depth_encoder",
    "find_image_encoder",
    "find_imu_encoder",
    "find_language_encoder",
    "load_image_weights",
]
