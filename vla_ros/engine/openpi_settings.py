"""What is known of a policy server beside its address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vla_ros.contract.features import STATE, TASK, FeatureKind, feature_kind
from vla_ros.contract.section import Section
from vla_ros.contract.specs import RobotContract
from vla_ros.core.errors import ContractError, UserError
from vla_ros.engine.signature import RELATIVE

#: How openpi's servers call the instruction, where nothing else is configured.
PROMPT = "prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPiSettings:
    """How a server is asked.

    Attributes:
        address: `ws://host:port` or `wss://host:port`.
        keys: Feature by the key under which the server wants it; empty for the robot's cameras
            and joint positions by their LeRobot names, and the instruction as `prompt`.
        step_s: Time between two rows of its answers in [s]; None for the period of the robot's
            first camera.
        deadline_s: Longest time for an answer in [s].
        relative_to: "state" where its actions count from the joint positions it was told.
    """

    address: str
    keys: Mapping[str, str] = field(default_factory=dict)
    step_s: float | None = None
    deadline_s: float = 1.0
    relative_to: str = RELATIVE[0]

    @staticmethod
    def read(source: str) -> OpenPiSettings:
        """Read an address, or a YAML file that has it.

        Raises:
            UserError: if it is neither.
        """
        if source.startswith(("ws://", "wss://")):
            return OpenPiSettings(address=source)
        path = Path(source)
        if not path.is_file():
            raise UserError(
                f"'{source}': expected ws://host:port of a policy server, or a YAML file with it"
            )
        top = Section.read(path)
        address = top.text("server")
        if not address.startswith(("ws://", "wss://")):
            top.fail("server", f"expected ws://host:port, got '{address}'")
        settings = OpenPiSettings(
            address=address,
            keys=_keys(top.section("keys")) if top.has("keys") else {},
            step_s=top.number("step_s", above=0.0) if top.has("step_s") else None,
            deadline_s=top.number("deadline_s", above=0.0, default=1.0),
            relative_to=top.choice("relative_to", RELATIVE)
            if top.has("relative_to")
            else RELATIVE[0],
        )
        top.finish()
        return settings

    def keys_for(self, contract: RobotContract) -> dict[str, str]:
        """Return the feature by key, for a robot that has them all.

        Raises:
            ContractError: if the robot lacks one; names it, and what there is.
        """
        there = {
            spec.feature
            for spec in contract.observations
            if spec.kind in (FeatureKind.IMAGE, FeatureKind.STATE)
        }
        if not self.keys:
            return {**{feature: feature for feature in sorted(there)}, PROMPT: TASK}
        for key, feature in self.keys.items():
            if feature not in there | {TASK}:
                raise ContractError(
                    f"keys.{key}: the robot '{contract.name}' has no {feature}; it has "
                    f"{', '.join(sorted(there))}, and the task"
                )
        return dict(self.keys)


def _keys(section: Section) -> dict[str, str]:
    keys = {key: section.text(key) for key in section.keys()}  # noqa: SIM118 - no mapping
    for key, feature in keys.items():
        if feature not in (STATE, TASK) and feature_kind(feature) is not FeatureKind.IMAGE:
            section.fail(key, f"expected {STATE}, {TASK} or a camera's feature, got '{feature}'")
    return keys
