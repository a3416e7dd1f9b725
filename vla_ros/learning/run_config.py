"""A training run as one file: what is trained (`policy`), and how (`training`).

    policy:
      fusion: projector
    training:
      data: [data/expert]
      output: runs/projector
      steps: 12000

A key is a field of `PolicyConfig` or `TrainingConfig`; what is not given has that field's default.
Cameras, kinematics and what the language encoder's files say are no choice of a run. Every run
writes such a file, complete, into its output folder.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from vla_ros.contract import load_contract
from vla_ros.contract.section import Section
from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.learning.checkpoints import pruned_sizes
from vla_ros.learning.encoder_choice import EncoderChoice, with_encoders
from vla_ros.learning.field_values import FieldError, expected, read_field
from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.heads import find_head

#: What each section is read into.
SECTIONS: dict[str, type] = {"policy": PolicyConfig, "training": TrainingConfig}
#: Fields that follow from something else, and from what.
DERIVED = {
    "cameras": "the recipe",
    "kinematics": "the recipe",
    "n_joints": "the recipe",
    "image_model": "image_weights",
    "cloud": "the contract's workspace",
    "language_encoder": "the files in `training.language`",
    "language_tokens": "the files in `training.language`",
    "language_features": "the files in `training.language`",
    "pruned": "`training.start`",
}
#: The fields that choose encoders, and what `EncoderChoice` calls them.
ENCODERS = {
    "image_encoder": "image",
    "image_weights": "image_weights",
    "image_tuning": "image_tuning",
    "depth_encoder": "depth",
    "imu_encoder": "imu",
}
#: The fields that a fusion gets with its name, unless they are chosen.
SIZES = ("layers", "feedforward")
FILE = "config.yaml"
_HEAD = """\
# `vla_ros train --config {name}` goes on with this run, and with `--output` of another folder does
# it again. Paths are relative to where the command is called.
"""

Values = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What is trained, and how."""

    policy: PolicyConfig
    training: TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChoices:
    """Fields that were chosen, by name; the others have their defaults."""

    policy: Values = field(default_factory=dict)
    training: Values = field(default_factory=dict)

    @staticmethod
    def read(name: str | Path) -> RunChoices:
        """Return what a file chooses.

        Args:
            name: Path of a YAML file, or name of a shipped one.

        Raises:
            UserError: if there is no such file, or something in it is wrong; names file, key,
                what was expected and what came, and lists what exists.
        """
        top = Section.read(find_run_file(name))
        found = {
            key: _read_section(top.section(key), kind) if top.has(key) else {}
            for key, kind in SECTIONS.items()
        }
        top.finish()
        return RunChoices(**found)

    @staticmethod
    def parse(assignments: list[str]) -> RunChoices:
        """Return what `SECTION.FIELD=VALUE` texts choose, each value as YAML would have it.

        Raises:
            UserError: as `read`.
        """
        values: dict[str, Values] = {key: {} for key in SECTIONS}
        for text in assignments:
            path, equals, value = text.partition("=")
            section, _, name = path.strip().partition(".")
            if not equals or section not in SECTIONS or not name:
                raise UserError(
                    f"--set {text}: expected SECTION.FIELD=VALUE with one of the sections "
                    f"{', '.join(SECTIONS)}, such as policy.fusion=late"
                )
            try:
                values[section][name] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise UserError(f"--set {text}: the value is no YAML: {error}") from error
        return RunChoices(
            **{
                key: _read_section(Section(values[key], "--set", key), kind)
                for key, kind in SECTIONS.items()
            }
        )

    def over(self, below: RunChoices) -> RunChoices:
        """Return these choices, and those of `below` where there are none.

        Another fusion brings its own size: the layers that `below` chose were of its fusion.
        """
        policy = below.policy | self.policy
        if "fusion" in self.policy and self.policy["fusion"] != below.policy.get("fusion"):
            for size in set(SIZES) - set(self.policy):
                policy.pop(size, None)
        return RunChoices(policy=policy, training=below.training | self.training)

    def run(self, language: Callable[[Path | None, Path], Path]) -> RunConfig:
        """Return the whole configuration.

        Args:
            language: Returns the language encoder's folder, given the one that was chosen, if any,
                and the output folder.

        Raises:
            UserError: if something is missing, or no such run is possible; names it.
        """
        chosen = dict(self.training)
        if chosen.get("recordings") and not chosen.get("data"):  # they alone are trained from
            chosen = {"data": (), "images": 0, "episodes": 0} | chosen
        for name in ("data", "output"):
            if not chosen.get(name) and not (name == "data" and chosen.get("recordings")):
                raise UserError(
                    f"{name}: missing; give --{name}, or `{name}` in the `training` section of "
                    "the --config file"
                )
        encoder = language(chosen.get("language"), chosen["output"])
        training = TrainingConfig(**{**chosen, "language": encoder})
        policy = _policy(self.policy, training)
        if training.start is not None:
            policy = replace(policy, pruned=pruned_sizes(training.start))
        return RunConfig(policy=policy, training=training)


def find_run_file(name: str | Path) -> Path:
    """Return the file of a shipped configuration's name, or of a path.

    Raises:
        UserError: if there is none; lists the shipped ones.
    """
    text = str(name)
    shipped = {file.stem: file for file in sorted(resource_path("config/training").glob("*.yaml"))}
    if text in shipped:
        return shipped[text]
    file = Path(text).expanduser()
    if file.is_file():
        return file
    near = difflib.get_close_matches(text, shipped, n=1)
    advice = f" Did you mean {near[0]}?" if near else ""
    raise UserError(
        f"{file}: there is no such file; --config takes a YAML file, or the name of a shipped "
        f"one: {', '.join(shipped)}.{advice}"
    )


def write_run(run: RunConfig, directory: Path) -> Path:
    """Write everything that a run's file can choose into a folder; return the file."""
    chosen = {
        key: {
            name: plain
            for name in _choosable(kind)
            if (plain := _plain(getattr(getattr(run, key), name))) is not None
        }
        for key, kind in SECTIONS.items()
    }
    file = directory / FILE
    partial = file.with_suffix(".partial")
    text = yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True)
    partial.write_text(_HEAD.format(name=file) + text, encoding="utf-8")
    partial.rename(file)
    return file


def _policy(chosen: Mapping[str, Any], training: TrainingConfig) -> PolicyConfig:
    """Return the recipe's policy with what was chosen.

    A fusion whose size nobody chose gets as many parameters as the recipe's.
    """
    contract = load_contract(training.contract)
    later = {*ENCODERS, *SIZES, "fusion"}
    policy = replace(tabletop_small(), **{k: v for k, v in chosen.items() if k not in later})
    if len(contract.action.joints) != policy.n_joints:
        raise UserError(
            f"the policy moves {policy.n_joints} joints, and the contract '{contract.name}' has "
            f"{len(contract.action.joints)}: {', '.join(contract.action.joints)}"
        )
    encoders = EncoderChoice(**{ENCODERS[k]: v for k, v in chosen.items() if k in ENCODERS})
    policy = with_encoders(policy, encoders, contract, training.language)
    find_head(policy.head)
    if "fusion" in chosen:
        policy = with_fusion(policy, chosen["fusion"])
    return replace(policy, **{name: chosen[name] for name in SIZES if name in chosen})


def _choosable(kind: type) -> dict[str, Any]:
    """Return the fields that a file may give, with their types."""
    hints = get_type_hints(kind)
    return {of.name: hints[of.name] for of in fields(kind) if of.name not in DERIVED}


def _read_section(section: Section, kind: type) -> Values:
    values: Values = {}
    for name in section.keys():  # noqa: SIM118 - a Section is no mapping
        if name in DERIVED:
            section.fail(name, f"follows from {DERIVED[name]} and cannot be chosen; leave it out")
    for name, hint in _choosable(kind).items():
        if section.has(name):
            try:
                values[name] = read_field(section.value(name), hint)
            except FieldError as error:
                section.fail(name, f"expected {expected(hint)}, got {error}")
    section.finish()
    return values


def _plain(value: Any) -> Any:
    """Return a field as YAML has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return value
