"""What measurements must reach, read from `bench/musts.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path

Results = Mapping[str, Any]

# Each is true only for good values: NaN, text and None fall short of every must.
_RULES: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "min": ("at least", lambda value, bound: _number(value) and bool(value >= bound)),
    "max": ("at most", lambda value, bound: _number(value) and bool(value <= bound)),
    "below": ("below", lambda value, bound: _number(value) and bool(value < bound)),
    "words": ("said in words, at least", lambda value, bound: _words(value) >= bound),
    "is": ("exactly", lambda value, bound: type(value) is type(bound) and bool(value == bound)),
}


class Musts:
    """The musts of one command."""

    def __init__(self, command: str, rules: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the rules of `command`: a key of the results, and what its value must be.

        Raises:
            UserError: if a rule is none of `min`, `max`, `below`, `each_min`, `words`, `is`.
        """
        self.command = command
        self._rules = rules
        for key, rule in rules.items():
            unknown = set(rule) - {*_RULES, "each_min"} if isinstance(rule, dict) else {str(rule)}
            if unknown or not rule:
                raise UserError(
                    f"musts of '{command}': {key}: expected one of {', '.join(_RULES)}, each_min;"
                    f" got {', '.join(sorted(unknown)) or 'nothing'}"
                )

    @classmethod
    def load(cls, command: str, file: Path | None = None) -> Musts:
        """Return the musts of a command, for example `bench/transport.py`.

        Args:
            command: Name of a table in the file.
            file: Another file than `bench/musts.toml`.

        Raises:
            UserError: if there is no such file or table; lists the tables.
        """
        file = file or resource_path("bench/musts.toml")
        try:
            tables = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"{file}: cannot be read: {error}") from error
        if command not in tables:
            raise UserError(f"{file}: no musts for '{command}'; there are {', '.join(tables)}")
        return cls(command, tables[command])

    def check(self, results: Results) -> list[str]:
        """Return one line for each must that falls short; empty if all are reached."""
        return [line for line, good in self.verdicts(results) if not good]

    def verdicts(self, results: Results) -> list[tuple[str, bool]]:
        """Return each must as a line that says what it is and what came, and whether it holds."""
        found = []
        for key, rule in self._rules.items():
            value = _descend(results, key)
            for name, bound in rule.items():
                if name == "each_min":
                    found += _each_min(key, value, bound)
                else:
                    found.append(_verdict(key, value, name, bound))
        return found


def _each_min(key: str, value: Any, bound: float) -> list[tuple[str, bool]]:
    if not isinstance(value, Mapping) or not value:
        return [(f"{key}: must have values of at least {bound:g} each, there are none", False)]
    return [_verdict(f"{key}.{name}", item, "min", bound) for name, item in value.items()]


def _verdict(key: str, value: Any, rule: str, bound: Any) -> tuple[str, bool]:
    words, holds = _RULES[rule]
    shown = "missing" if value is None else f"{value:.4g}" if _number(value) else repr(value)
    return f"{key}: must be {words} {bound}, is {shown}", holds(value, bound)


def _descend(results: Results, key: str) -> Any:
    value: Any = results
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _words(value: Any) -> int:
    return len(value.split()) if isinstance(value, str) else 0


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
