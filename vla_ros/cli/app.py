"""The `vla_ros` command: a table of subcommands of which only the one that runs is imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from vla_ros.core.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Subcommand:
    """Where a subcommand is implemented, and what it does in one line.

    Attributes:
        target: `module:attribute`, a function, or a Typer group of more subcommands.
        help: The line.
    """

    target: str
    help: str


#: Importing torch, mujoco or rclpy takes seconds: `vla_ros up` must not pay for `vla_ros train`.
SUBCOMMANDS = {
    "up": Subcommand(target="vla_ros.cli.up:up", help="Start the graph: sim or robot."),
    "run": Subcommand(target="vla_ros.cli.run:run", help="Make a running graph do a sentence."),
    "demo": Subcommand(
        target="vla_ros.cli.demo:demo", help="Start the simulation, do one sentence, film it."
    ),
    "eval": Subcommand(
        target="vla_ros.cli.eval:evaluate", help="Measure a policy on a task suite."
    ),
    "compare": Subcommand(
        target="vla_ros.cli.compare:compare", help="Put results of evaluations side by side."
    ),
    "explain": Subcommand(
        target="vla_ros.cli.explain:explain", help="Show what a policy looks at, and what decides."
    ),
    "collect": Subcommand(
        target="vla_ros.cli.collect:collect", help="Teleoperate, take over, and record episodes."
    ),
    "demonstrate": Subcommand(
        target="vla_ros.cli.demonstrate:demonstrate",
        help="Make demonstrations with the scripted experts.",
    ),
    "bench": Subcommand(
        target="vla_ros.cli.bench:bench", help="Show where the time goes, on every backend."
    ),
    "data": Subcommand(
        target="vla_ros.cli.data:data", help="List, mend, check, convert and edit recordings."
    ),
    "train": Subcommand(target="vla_ros.cli.train:train", help="Train a policy."),
    "language": Subcommand(
        target="vla_ros.cli.language:language", help="Make a language encoder to train on."
    ),
    "export": Subcommand(
        target="vla_ros.cli.export:export", help="Make a bundle of a training checkpoint."
    ),
    "prune": Subcommand(
        target="vla_ros.cli.prune:prune_policy", help="Make a policy smaller, to train it on."
    ),
    "patch": Subcommand(
        target="vla_ros.cli.patch:patch", help="Make a picture that misleads a policy."
    ),
    "serve": Subcommand(
        target="vla_ros.cli.serve:serve", help="Answer for many robots what policies are asked."
    ),
}

Function = Callable[..., Any]


def build_app(chosen: str | None) -> typer.Typer:
    """Return the command line with the subcommand `chosen` imported and the others as a list."""
    app = typer.Typer(
        name="vla_ros",
        help="Run vision-language-action policies on robots through ROS 2.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
    )
    for name, subcommand in SUBCOMMANDS.items():
        loaded = _load(subcommand.target) if name == chosen else _absent
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name)
        else:
            app.command(name, help=None if name == chosen else subcommand.help)(loaded)
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; an error that the user can mend is one line and exit status 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    try:
        build_app(chosen)(args=arguments, prog_name="vla_ros")
    except UserError as error:
        _refuse(error)
    except ModuleNotFoundError as error:  # of what a command imports once it runs: rclpy, torch
        if (error.name or "").startswith("vla_ros."):
            raise
        _refuse(_missing(error))


def _load(target: str) -> Function | typer.Typer:
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("vla_ros."):
            raise
        raise _missing(error) from error


def _missing(error: ModuleNotFoundError) -> UserError:
    return UserError(
        f"this command needs the Python package '{error.name}', which cannot be imported; in a "
        "source checkout run `make setup`, and where ROS 2 comes from apt, source it first"
    )


def _refuse(error: UserError) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(
        f"[bold red]error:[/] {escape(str(error))}", highlight=False
    )
    sys.exit(2)


def _absent() -> None:
    """Stand in for a subcommand in the list of `vla_ros --help`."""


if __name__ == "__main__":
    main()
