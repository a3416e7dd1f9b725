"""What a user may choose about a graph, on the command line and as launch arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vla_ros.core.conventions import RELIABILITIES
from vla_ros.core.errors import UserError
from vla_ros.planner import SecondGoal

#: Nobody teleoperates the robot.
NOBODY = "none"

TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may choose about a graph; launch arguments are made from these fields."""

    robot: str = field(default="", metadata={"help": "robot contract: a name or a YAML file"})
    policy: str = field(default="", metadata={"help": "directory of the policy bundle"})
    backend: str = field(default="onnxruntime", metadata={"help": "engine that runs the bundle"})
    fallback: str = field(
        default="", metadata={"help": "engines that take over where it fails, with commas between"}
    )
    threads: int = field(default=1, metadata={"help": "threads of one inference"})
    cpus: str = field(
        default="", metadata={"help": "CPUs that inference is kept on, from 0: 2,3; empty: any"}
    )
    teleop: str = field(
        default="",
        metadata={
            "help": "keyboard, gamepad, spacemouse, leader, network, a YAML file, or none; "
            "empty: keyboard to collect, else none"
        },
    )
    terminal: str = field(
        default="", metadata={"help": "terminal of the keyboard that moves the robot: /dev/pts/3"}
    )
    recordings: str = field(
        default="",
        metadata={
            "help": "folder to record episodes into; empty: `recordings` to collect, else none"
        },
    )
    operator: str = field(default="", metadata={"help": "who records; kept with each episode"})
    seed: int = field(default=0, metadata={"help": "seed of the first simulated scene"})
    split: str = field(default="seeds", metadata={"help": "split of the first simulated scene"})
    skill: str = field(default="", metadata={"help": "skill of the first simulated scene"})
    sensor_reliability: str = field(
        default="best_effort",
        metadata={"help": "of the sensor topics", "choices": RELIABILITIES},
    )
    second_goal: str = field(
        default="reject",
        metadata={
            "help": "what happens to a goal that comes while one runs",
            "choices": tuple(rule.value for rule in SecondGoal),
        },
    )
    start_stopped: bool = field(
        default=False,
        metadata={"help": "begin with the emergency stop latched, until gate/reset"},
    )
    allow_differences: bool = field(
        default=False, metadata={"help": "run a bundle that was made for another contract"}
    )
    adaptive: bool = field(
        default=False, metadata={"help": "infer only when something has happened"}
    )
    scheduling: str = field(
        default="asynchronous",
        metadata={"help": "how the chunks of a slow policy become motion"},
    )
    use_sim_time: bool = field(
        default=False, metadata={"help": "follow /clock and not the wall clock"}
    )

    def __post_init__(self) -> None:
        """Refuse a choice that does not exist.

        Raises:
            UserError: naming the option and the choices.
        """
        for item in fields(self):
            choices = item.metadata.get("choices")
            value = getattr(self, item.name)
            if choices and value not in choices:
                raise UserError(f"{item.name}: expected {' or '.join(choices)}, got '{value}'")

    def arguments(self) -> list[str]:
        """Return what of this differs from the defaults, as arguments of `vla_ros up`."""
        given = []
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                name = f"--{item.name.replace('_', '-')}"
                given += [name] if value is True else [name, str(value)]
        return given


def read_options(values: Mapping[str, str]) -> Options:
    """Return the options that launch arguments, which are all text, stand for.

    Raises:
        UserError: if a number or a truth value is none, or there is no such choice; names the
            argument.
    """
    read: dict[str, Any] = {}
    for item in fields(Options):
        text = values[item.name]
        kind: Any = type(item.default)
        try:
            read[item.name] = _truth(text) if kind is bool else kind(text)
        except ValueError as error:
            raise UserError(f"{item.name}: expected {kind.__name__}, got '{text}'") from error
    return Options(**read)


def _truth(text: str) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise ValueError(text)
    return text.lower() in TRUE
