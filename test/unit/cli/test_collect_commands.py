"""Keys and lines that become commands; a real pseudo terminal stands behind the keys."""

from __future__ import annotations

import os
import pty
import termios

import pytest

from vla_ros.cli.collect_commands import (
    COMMANDS,
    KEYS,
    Command,
    InputReader,
    KeyReader,
    single_keys,
    split_keys,
)


def press(reader: KeyReader, keys: str) -> list[Command]:
    return [command for key in split_keys(keys) if (command := reader.read(key)) is not None]


def test_every_key_is_a_command_that_lines_know_too() -> None:
    assert set(KEYS.values()) <= set(COMMANDS)


@pytest.mark.parametrize(
    ("keys", "names"), [("\rS", ["toggle", "success"]), ("fdu", 3), ("zx", 0)]
)
def test_keys_are_commands_in_either_case(keys: str, names: list[str] | int) -> None:
    found = [command.name for command in press(KeyReader(capitals_only=False), keys)]
    assert (found if isinstance(names, list) else len(found)) == names


def test_small_letters_and_arrows_move_the_robot_when_the_keyboard_is_what_moves_it() -> None:
    passed: list[str] = []
    reader = KeyReader(capitals_only=True, pass_on=passed.append)
    assert press(reader, "sq\x1b[A \x1bOPz") == []
    assert passed == ["s", "q", "\x1b[A", " ", "\x1bOP", "z"]
    assert [command.name for command in press(reader, "S\rQ")] == ["success", "toggle", "quit"]


def test_an_instruction_is_typed_after_its_key_and_shown_meanwhile() -> None:
    passed: list[str] = []
    reader = KeyReader(capitals_only=True, pass_on=passed.append)
    assert press(reader, "Ilift the quitr") == []
    assert reader.prompt.startswith("instruction: lift the quitr_")
    found = press(reader, "\x7fe Ball\r")
    assert found == [Command(name="instruction", text="lift the quite Ball")]
    assert passed == []
    assert reader.prompt.startswith("[Enter] start/stop")


def test_escape_leaves_the_instruction_as_it_was() -> None:
    reader = KeyReader(capitals_only=False)
    assert press(reader, "iwrong") == []
    assert reader.read("\x1b") is None
    assert [command.name for command in press(reader, "s")] == ["success"]


def test_lines_come_whole_however_they_are_cut_and_the_last_needs_no_end() -> None:
    receiver, sender = os.pipe()
    reader = InputReader(receiver)
    assert list(reader.read_lines()) == []  # it does not wait
    os.write(sender, b"start\nsto")
    assert list(reader.read_lines()) == ["start"]
    os.write(sender, "p\nlabel übel".encode())
    assert list(reader.read_lines()) == ["stop"]
    os.close(sender)
    assert list(reader.read_lines()) == ["label übel"]
    assert reader.ended
    assert list(reader.read_lines()) == []
    os.close(receiver)


def test_a_terminal_hands_over_single_keys_and_is_as_before_afterwards() -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    with single_keys(theirs):
        os.write(ours, b"S\x1b[A")  # no end of line
        assert list(InputReader(theirs).read_keys()) == ["S", "\x1b[A"]
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
