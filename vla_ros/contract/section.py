"""Strict reading of YAML: every value is asked for once, and what nobody asked for is an error."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import yaml

from vla_ros.core.errors import ContractError


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, where YAML would silently take the last.

    Of a value that is none, such as the date 2024-99-99, it names the line.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except ValueError as error:
            line, tag = node.start_mark.line + 1, node.tag.rpartition(":")[2]
            raise ContractError(
                f"line {line}: YAML reads '{node.value}' as a {tag}, and it is none: {error}"
            ) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                line = node.value[index][0].start_mark.line + 1
                raise ContractError(f"line {line}: the key '{key}' is given twice; keep one")
        return super().construct_mapping(node, deep=deep)


class Section:
    """A mapping of a YAML file that knows where it stands, for errors that say so."""

    def __init__(self, values: dict[Any, Any], file: str, path: str = "") -> None:
        """Read `values`, which stand at `path` in `file`."""
        self._values = values
        self._file = file
        self._path = path
        self._asked: set[str] = set()

    @classmethod
    def read(cls, file: Path) -> Section:
        """Return the top of a file.

        Raises:
            ContractError: if it is no readable YAML mapping.
        """
        try:
            values = yaml.load(file.read_text(encoding="utf-8"), _StrictLoader)
        except (OSError, UnicodeDecodeError) as error:
            raise ContractError(f"{file}: cannot be read: {error}") from error
        except ContractError as error:
            raise ContractError(f"{file}: {error}") from error
        except yaml.YAMLError as error:
            raise ContractError(f"{file}: not valid YAML: {error}") from error
        if not isinstance(values, dict):
            raise ContractError(f"{file}: expected a mapping, got {_describe(values)}")
        return cls(values, str(file))

    def fail(self, key: str, message: str) -> NoReturn:
        """Raise an error that names file and key."""
        where = ".".join(part for part in (self._path, key) if part)
        raise ContractError(f"{self._file}: {where}: {message}")

    def keys(self) -> list[str]:
        """Return the keys in order."""
        for key in self._values:
            if not isinstance(key, str):
                self.fail(str(key), f"expected text as a key, got {_describe(key)}")
        return list(self._values)

    def section(self, key: str) -> Section:
        """Return a mapping within this one."""
        values = self._value(key, "a mapping")
        if not isinstance(values, dict):
            self.fail(key, f"expected a mapping, got {_describe(values)}")
        path = ".".join(part for part in (self._path, key) if part)
        return Section(values, self._file, path)

    def text(self, key: str) -> str:
        """Return text that is not empty."""
        value = self._value(key, "text")
        if not isinstance(value, str) or not value.strip():
            self.fail(key, f"expected text, got {_describe(value)}")
        return value

    def choice(self, key: str, options: Iterable[str], hint: str = "") -> str:
        """Return one of `options`."""
        options = list(options)
        value = self._value(key, f"one of {', '.join(options)}")
        if value not in options:
            near = difflib.get_close_matches(str(value), options, n=1)
            advice = hint or (f"Did you mean '{near[0]}'?" if near else "")
            self.fail(
                key, f"expected one of {', '.join(options)}, got {_describe(value)}. {advice}"
            )
        return str(value)

    def number(self, key: str, *, above: float = -math.inf, default: float | None = None) -> float:
        """Return a finite number greater than `above`; `default` if the key is not there."""
        wanted = "a number" if above == -math.inf else f"a number above {above:g}"
        self._asked.add(key)
        if default is not None and key not in self._values:
            return default
        value = self._value(key, wanted)
        if not _is_number(value) or not above < value < math.inf:
            self.fail(key, f"expected {wanted}, got {_describe(value)}{_exponent_hint(value)}")
        return float(value)

    def whole(self, key: str) -> int:
        """Return a whole number above 0."""
        value = self._value(key, "a whole number above 0")
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            self.fail(key, f"expected a whole number above 0, got {_describe(value)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false; `default` if the key is not there."""
        self._asked.add(key)
        if key not in self._values:
            return default
        value = self._value(key, "true or false")
        if not isinstance(value, bool):
            self.fail(key, f"expected true or false, got {_describe(value)}")
        return value

    def interval(self, key: str) -> tuple[float, float]:
        """Return two finite numbers, the lower first."""
        value = self._value(key, "[lower, upper]")
        if not (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))):
            self.fail(key, f"expected [lower, upper], got {_describe(value)}")
        low, high = map(float, value)
        if not -math.inf < low < high < math.inf:
            self.fail(key, f"expected [lower, upper] with lower below upper, got {value}")
        return low, high

    def has(self, key: str) -> bool:
        """Return whether an optional key is there."""
        self._asked.add(key)
        return key in self._values

    def value(self, key: str) -> Any:
        """Return what is there as YAML has it; the caller checks it."""
        return self._value(key, "a value")

    def finish(self) -> None:
        """Refuse keys that nothing has asked for."""
        for key in self.keys():
            if key not in self._asked:
                near = difflib.get_close_matches(key, sorted(self._asked), n=1)
                advice = f" Did you mean '{near[0]}'?" if near else ""
                self.fail(
                    key, f"unknown key; expected only {', '.join(sorted(self._asked))}.{advice}"
                )

    def _value(self, key: str, wanted: str) -> Any:
        self._asked.add(key)
        if key not in self._values:
            near = difflib.get_close_matches(key, [str(k) for k in self._values], n=1)
            advice = f" Is '{near[0]}' a misspelling?" if near else ""
            self.fail(key, f"missing; expected {wanted}.{advice}")
        return self._values[key]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _describe(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _exponent_hint(value: object) -> str:
    if isinstance(value, str):
        return ". YAML reads this as text: write 0.001 or 1.0e-3, without quotes"
    return ""
