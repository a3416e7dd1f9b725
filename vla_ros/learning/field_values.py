"""Values of a YAML file as a dataclass's fields want them; nothing is guessed."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, get_args, get_origin

from vla_ros.core.errors import DefectError

_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}
_SEVERAL = {str: "texts", Path: "paths", int: "whole numbers", float: "numbers"}


class FieldError(Exception):
    """A value that a field cannot have; the message is what came."""


def expected(hint: Any) -> str:
    """Return in words what a field's type lets a file hold.

    Raises:
        DefectError: if no file can give a value of this type.
    """
    if isinstance(hint, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not types.NoneType]
        return " or ".join([*(expected(kind) for kind in kinds), "nothing"])
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        return f"a list of {_SEVERAL[get_args(hint)[0]]}"
    if hint not in _NAMES:
        raise DefectError(f"a configuration file cannot hold a value of type {hint}")
    return _NAMES[hint]


def read_field(value: Any, hint: Any) -> Any:
    """Return a YAML value as the type `hint` wants it.

    Raises:
        FieldError: if it is of another type.
    """
    expected(hint)
    if isinstance(hint, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not types.NoneType]
        return None if value is None else read_field(value, kinds[0])
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise FieldError(_describe(value))
        return tuple(read_field(entry, get_args(hint)[0]) for entry in value)
    if hint is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number:
        return float(value)
    if type(value) is not hint:
        raise FieldError(_describe(value))
    return value


def _describe(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return repr(value)
        return f"the text {value!r}; write a number as 0.001 or 1.0e-3, without quotes"
    return repr(value)
