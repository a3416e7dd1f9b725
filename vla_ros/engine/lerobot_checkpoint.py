"""Loads a LeRobot checkpoint through LeRobot: whatever policy the installed version knows.

There is no list of policies here. LeRobot's own factory makes the policy and the processors that
were saved with it, and its plugins are registered first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vla_ros.core.errors import BundleError, EngineError

CONFIG = "config.json"
TRAINING = "train_config.json"
#: A dataset's description, which says what a checkpoint does not: the joints' names and the rate.
DATASET = "meta/info.json"
PREPROCESSOR = "policy_preprocessor.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeRobotCheckpoint:
    """A policy with the processors that were saved with it.

    Attributes:
        source: Directory or hub id, as it was given.
        directory: Where its files are.
        policy: LeRobot's policy, in evaluation mode.
        config: Its configuration.
        preprocess: LeRobot's pipeline before it.
        postprocess: LeRobot's pipeline behind it.
        joints: Names of the action's columns in its dataset; empty where that is not known.
        fps: Frames per second of its dataset; None where that is not known.
    """

    source: str
    directory: Path
    policy: Any
    config: Any
    preprocess: Any
    postprocess: Any
    joints: tuple[str, ...] = ()
    fps: float | None = None

    @property
    def renamed(self) -> dict[str, str]:
        """What the pipeline renames: the policy's name of a feature by the robot's."""
        names: dict[str, str] = {}
        for step in self.preprocess.steps:
            names |= getattr(step, "rename_map", {})
        return names


def load_checkpoint(source: str, device: str = "") -> LeRobotCheckpoint:
    """Load a checkpoint.

    Args:
        source: Its directory, or its id on the Hugging Face hub.
        device: Of torch; "" for the one that it was saved with, or what there is.

    Raises:
        EngineError: if LeRobot is not installed.
        BundleError: if the checkpoint is missing, or LeRobot cannot load it; says why.
    """
    try:
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
        from lerobot.utils.import_utils import register_third_party_plugins
    except ImportError as error:
        raise EngineError(
            f"lerobot: cannot be imported: {error}; install requirements/lerobot.txt in an "
            "environment of its own"
        ) from error
    register_third_party_plugins()
    directory = _directory(source)
    try:
        config = PreTrainedConfig.from_pretrained(directory)
        config.device = device or config.device
        policy = get_policy_class(config.type).from_pretrained(
            directory, config=config, strict=True
        )
        moved = {"device_processor": {"device": config.device}}
        preprocess, postprocess = make_pre_post_processors(
            config,
            pretrained_path=str(directory),
            preprocessor_overrides=moved if _moves(directory) else {},
        )
    except Exception as error:  # LeRobot raises what its parsers and torch raise
        raise BundleError(
            f"{source}: LeRobot {version('lerobot')} cannot load it: {error}"
        ) from error
    about = _dataset(directory)
    return LeRobotCheckpoint(
        source=source,
        directory=directory,
        policy=policy.eval(),
        config=config,
        preprocess=preprocess,
        postprocess=postprocess,
        joints=_names(about),
        fps=float(about["fps"]) if about.get("fps") else None,
    )


def _directory(source: str) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / CONFIG).is_file():
            raise BundleError(
                f"{folder}: has no {CONFIG}; name the folder that LeRobot calls pretrained_model"
            )
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source))
    except Exception as error:  # a path that is none, no network, no such model
        raise BundleError(
            f"{source}: is no directory, and the Hugging Face hub does not give it: {error}"
        ) from error


def _moves(directory: Path) -> bool:
    """Return whether the pipeline has a step that says on which device the inputs are wanted."""
    path = directory / PREPROCESSOR
    return path.is_file() and '"device_processor"' in path.read_text(encoding="utf-8")


def _dataset(directory: Path) -> Mapping[str, Any]:
    """Return the description of the dataset that a policy learned from, if it is at hand."""
    places = [directory / DATASET]
    training = directory / TRAINING
    if training.is_file():
        root = json.loads(training.read_text(encoding="utf-8")).get("dataset", {}).get("root")
        places += [Path(root) / DATASET] if root else []
    for place in places:
        if place.is_file():
            about: Mapping[str, Any] = json.loads(place.read_text(encoding="utf-8"))
            return about
    return {}


def _names(about: Mapping[str, Any]) -> tuple[str, ...]:
    names = about.get("features", {}).get("action", {}).get("names") or ()
    if isinstance(names, Mapping):  # some datasets name the motors by their kind
        names = [name for group in names.values() for name in group]
    return tuple(names)
