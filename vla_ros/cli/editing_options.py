"""What commands that edit recordings share: pairs and numbers of options, and the last line."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from vla_ros.core.errors import UserError


def say(text: str) -> None:
    """Print what was done, as it is."""
    Console(soft_wrap=True).print(text, highlight=False, markup=False)


def read_pairs(option: str, values: Sequence[str] | None) -> dict[str, str]:
    """Return OLD=NEW options as a mapping.

    Raises:
        UserError: if one has no `=`, or the same name twice; names the option.
    """
    pairs: dict[str, str] = {}
    for value in values or ():
        old, equals, new = value.partition("=")
        if not (old and equals and new):
            raise UserError(f"{option} {value!r}: expected two parts with '=' between them")
        if old in pairs:
            raise UserError(f"{option}: names {old!r} twice")
        pairs[old.strip()] = new.strip()
    return pairs


def read_number(option: str, text: str) -> int:
    """Return a number of an episode.

    Raises:
        UserError: if it is none; names the option.
    """
    if not text.isdecimal():
        raise UserError(f"{option} {text!r}: expected the number of an episode, such as 7")
    return int(text)


def read_numbers(option: str, text: str) -> set[int]:
    """Return the numbers of "0-3,7".

    Raises:
        UserError: if it is no such list; names the option.
    """
    numbers: set[int] = set()
    for part in filter(None, (item.strip() for item in text.split(","))):
        first, dash, last = part.partition("-")
        begin = read_number(option, first)
        numbers |= set(range(begin, (read_number(option, last) if dash else begin) + 1))
    return numbers
