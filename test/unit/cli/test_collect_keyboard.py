"""The terminal between `vla_ros collect` and the node that the keyboard moves the robot with."""

from __future__ import annotations

import os
import tty

from vla_ros.cli.collect_keyboard import OperatorTerminal
from vla_ros.testing.waiting import wait_for


def test_keys_go_in_and_what_the_node_shows_comes_out() -> None:
    with OperatorTerminal() as terminal:
        node = os.open(terminal.path, os.O_RDWR | os.O_NOCTTY)
        tty.setcbreak(node)
        for key in ("w", "\x1b[A", " "):
            terminal.press(key)
        assert os.read(node, 64) == b"w\x1b[A "
        os.write(node, b"\r\njoint: 1 pan+  2 pan-\r\nspace takes the arm\r\n")
        os.write(node, b"\r\x1b[Kidle  joint  50 %  ")
        os.write(node, b"\r\x1b[Kengaged  joint  60 %  ")
        wanted = ("joint: 1 pan+  2 pan-", "space takes the arm", "engaged  joint  60 %  ")
        wait_for(lambda: terminal.lines() == wanted, "what the node shows")
        os.close(node)


def test_a_node_that_restarts_finds_its_terminal_again() -> None:
    with OperatorTerminal() as terminal:
        for _ in range(2):
            node = os.open(terminal.path, os.O_RDWR | os.O_NOCTTY)
            tty.setcbreak(node)
            terminal.press("x")
            assert os.read(node, 1) == b"x"
            os.close(node)
        assert terminal.lines() == ()


def test_keys_that_nobody_reads_hold_nothing_up() -> None:
    with OperatorTerminal() as terminal:
        for _ in range(100_000):
            terminal.press("x")
