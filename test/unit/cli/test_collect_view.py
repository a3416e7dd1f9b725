"""What `vla_ros collect` shows of a recording, in a terminal and in a log."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from vla_ros.cli.collect_view import LineView, LiveView, Moment, draw

RATES_HZ = {"/camera": 30.0, "/imu": 100.0, "/joint_states": 100.0}


def moment(*, actor: str = "policy", silent_s: float = 0.0, **status: Any) -> Moment:
    values: dict[str, Any] = {
        "state": 1,
        "path": "/data/episode_000003",
        "instruction": "put the red cube in the bowl",
        "duration_s": 72.4,
        "messages": 12345,
        "bytes": 45_200_000,
        "lost": 0,
        "disk_free": 120_000_000_000,
        "episodes": 3,
        "topics": ["/camera", "/imu", "/joint_states", "/mine"],
        "rates_hz": [29.9, 60.0, 0.0, 5.0],
        "warnings": ["/imu: 60 Hz, expected 100"],
    }
    return Moment(
        status=SimpleNamespace(**{**values, **status}),
        actor=actor,
        silent_s=silent_s,
        instruction="lift the ball",
        operator=("engaged  joint  50 %",),
        prompt="[Enter] start/stop",
        said=("started episode 3",),
    )


def drawn(now: Moment, *, colours: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=120,
        force_terminal=colours,
        color_system="standard" if colours else None,
    )
    console.print(draw(now, RATES_HZ))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_the_picture_says_everything_of_the_episode() -> None:
    text = drawn(moment(actor="operator", lost=2))
    for part in (
        "RECORDING", "episode 3", "01:12.4", "“put the red cube in the bowl”",
        "the OPERATOR acts", "12,345 messages", "45.2 MB", "120.0 GB free", "3 complete", "2 lost",
        "/imu: 60 Hz, expected 100", "started episode 3", "engaged  joint  50 %",
        "[Enter] start/stop",
    ):  # fmt: skip
        assert part in text
    rows = [line.split() for line in text.splitlines() if "/camera" in line or "/mine" in line]
    assert [row[1:4] for row in rows] == [["/camera", "29.9", "30"], ["/mine", "5.0", "│"]]


def test_a_topic_that_is_slow_is_yellow_and_one_that_is_silent_red() -> None:
    lines = drawn(moment(), colours=True).splitlines()
    colours = {
        topic: [code for code in ("\x1b[33m", "\x1b[31m") if code in line]
        for topic in ("/camera", "/imu ", "/joint_states", "/mine")
        for line in lines
        if topic in line and "expected" not in line
    }
    assert colours == {
        "/camera": [],
        "/imu ": ["\x1b[33m"],
        "/joint_states": ["\x1b[31m"],
        "/mine": [],
    }


def test_a_low_terminal_shows_everything_but_the_topics_that_are_well() -> None:
    lines = drawn(moment()).splitlines()
    first = next(index for index, line in enumerate(lines) if "messages/s" in line)
    assert "[Enter] start/stop" in lines[first - 1]
    names = [line.split()[1] for line in lines[first + 1 : -1]]
    assert names == ["/joint_states", "/imu", "/camera", "/mine"]


def test_between_episodes_the_next_instruction_is_shown() -> None:
    text = drawn(moment(state=0, actor=""))
    assert "idle" in text
    assert "next: “lift the ball”" in text
    assert "red cube" not in text
    assert "nobody acts" in text


def test_a_recorder_that_is_gone_is_noticed() -> None:
    assert "no word of the recorder for 4 s" in drawn(moment(silent_s=4.2))
    assert "no word" not in drawn(moment(silent_s=0.4))


def test_markup_in_words_of_others_is_text() -> None:
    assert "“[red] cube[/]”" in drawn(moment(instruction="[red] cube[/]"))


def test_lines_tell_what_changes_once() -> None:
    lines: list[str] = []
    now_s = 0.0
    view = LineView(lines.append, lambda: now_s)
    idle, recording = moment(state=0, actor="", warnings=[]), moment(warnings=[])
    for shown in (idle, idle, recording, recording):
        view.show(shown)
    assert lines[0] == "idle, 3 complete"
    assert lines[1] == "the policy acts"
    assert lines[2].startswith(
        "recording episode 3: 01:12.4, “put the red cube in the bowl”, the policy acts, "
        "12345 messages, 0 lost, 120.0 GB free; /camera 30/s, /imu 60/s"
    )
    assert len(lines) == 3
    now_s = 6.0
    view.show(recording)
    assert len(lines) == 4
    view.show(moment(actor="operator"))
    view.show(moment(actor="operator", warnings=["/imu: 61.3 Hz, expected 100"]))
    view.show(moment(actor="operator", lost=7))
    view.show(moment(actor="operator", lost=7, silent_s=5.0))
    view.show(moment(actor="operator", lost=7, silent_s=6.0))
    assert lines[4:] == [
        "the OPERATOR acts",
        "warning: /imu: 60 Hz, expected 100",
        "warning: 7 messages lost",
        "no word of the recorder for 5 s",
    ]


def test_the_live_picture_leaves_its_last_state_in_the_terminal() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with LiveView(console, RATES_HZ) as view:
        view.show(moment())
        view.show(moment(state=0))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "next: “lift the ball”" in text.rpartition("vla_ros collect")[2]
