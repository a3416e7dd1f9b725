"""What the commands of `vla_ros collect` do with a recorder that keeps its rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from vla_ros.cli.collect_commands import Command
from vla_ros.cli.collect_session import JUDGE_S, SETTLE_S, Session
from vla_ros.cli.collect_settings import SessionSettings
from vla_ros.core.errors import UserError


@dataclass
class MemoryRecorder:
    """A recorder that keeps episodes in memory, and refuses what the node refuses."""

    episodes: list[dict[str, str]] = field(default_factory=list)
    discarded: list[dict[str, str]] = field(default_factory=list)
    scenes: list[int] = field(default_factory=list)
    recording: bool = False
    done: bool = True
    broken: str = ""

    @property
    def status(self) -> Any:
        path = f"/recordings/episode_{len(self.episodes) - 1:06d}"
        return SimpleNamespace(
            state=int(self.recording),
            path=path,
            instruction="put it there",
            episodes=7 + len(self.episodes) - self.recording,
        )

    def start(self, instruction: str, operator: str) -> str:
        if self.broken:
            raise UserError(self.broken)
        self.recording = True
        self.episodes.append({"instruction": instruction, "operator": operator, "outcome": ""})
        return str(self.status.path)

    def stop(self) -> str:
        if not self.recording:
            raise UserError("stop: nothing is recorded")
        self.recording = False
        return "93 messages"

    def label(self, outcome: str, text: str = "") -> str:
        if not self.episodes:
            raise UserError("label: there is no episode")
        self.episodes[-1] |= {"outcome": outcome, "text": text}
        return ""

    def discard(self) -> str:
        if not self.episodes:
            raise UserError("discard: there is no episode")
        self.recording = False
        self.discarded.append(self.episodes.pop())
        return ""

    def undo(self) -> str:
        if not self.discarded:
            raise UserError("undo: nothing was discarded")
        self.episodes.append(self.discarded.pop())
        return ""

    def lay_scene(self, seed: int, split: str, skill: str) -> str:
        self.scenes.append(seed)
        return f"lift the cube of scene {seed}"

    def judge(self) -> bool:
        return self.done


class Run:
    """A session with its recorder, its clock, and what it has said."""

    def __init__(self, **settings: Any) -> None:
        self.recorder, self.now_s, self.told = MemoryRecorder(), 100.0, list[str]()
        made = SessionSettings(**settings)
        self.session = Session(self.recorder, made, self.told.append, lambda: self.now_s)
        self.session.begin()

    def recording(self) -> bool:
        return self.recorder.recording

    def do(self, *names: str) -> None:
        for name in names:
            self.session.do(Command(name=name))

    def pass_time(self, duration_s: float) -> None:
        for _ in range(round(duration_s / 0.1)):
            self.now_s += 0.1
            self.session.go_on()


def test_a_successful_episode_is_labelled_before_it_ends() -> None:
    run = Run(instruction="lift it", operator="Ada")
    run.do("toggle", "success")
    assert run.recorder.episodes == [
        {"instruction": "lift it", "operator": "Ada", "outcome": "success", "text": ""}
    ]
    assert not run.recording()
    assert run.session.complete == 1
    assert "started episode 0: “lift it”" in run.told
    assert "success. 93 messages" in run.told


def test_an_episode_that_has_ended_is_labelled_and_not_counted_again() -> None:
    run = Run()
    run.do("start", "stop", "failure")
    assert [item["outcome"] for item in run.recorder.episodes] == ["failure"]
    assert run.session.complete == 1


def test_a_text_does_not_wipe_out_the_outcome_nor_the_outcome_the_text() -> None:
    run = Run()
    run.do("start")
    run.session.do(Command(name="label", text="was bumped"))
    run.do("success")
    assert (run.recorder.episodes[0]["outcome"], run.recorder.episodes[0]["text"]) == (
        "success",
        "was bumped",
    )
    run.session.do(Command(name="label", text="was pushed"))
    assert run.recorder.episodes[0]["outcome"] == "success"
    run.do("start", "failure")
    assert run.recorder.episodes[1]["text"] == ""


def test_what_the_recorder_refuses_is_said_and_the_session_goes_on() -> None:
    run = Run()
    run.do("stop", "discard", "scene", "start", "start")
    assert run.told[:3] == [
        "stop: no episode is being recorded",
        "discard: discard: there is no episode",
        "scene: a real table is laid by hand",
    ]
    assert run.told[-1] == "start: an episode is being recorded; stop it first"
    assert run.recording()


def test_a_discarded_episode_does_not_count_until_it_is_taken_back() -> None:
    run = Run(episodes=2)
    run.do("start", "stop", "discard")
    assert run.session.complete == 0
    run.do("undo")
    assert run.session.complete == 1
    run.do("start", "discard")  # while it is recorded
    assert (run.session.complete, run.recording()) == (1, False)
    run.do("start", "stop")
    assert run.session.ended


def test_every_simulated_episode_has_a_scene_and_its_sentence() -> None:
    run = Run(simulated=True, seed=7)
    run.do("start", "success", "start", "stop")
    assert run.recorder.scenes == [7, 8, 9]
    assert [item["instruction"] for item in run.recorder.episodes] == [
        "lift the cube of scene 7",
        "lift the cube of scene 8",
    ]


def test_words_that_were_typed_hold_until_the_next_scene() -> None:
    run = Run(simulated=True)
    run.session.do(Command(name="instruction", text="push the ball"))
    run.do("start", "stop", "start")
    told = [item["instruction"] for item in run.recorder.episodes]
    assert told == ["push the ball", "lift the cube of scene 1"]


def test_episodes_that_run_by_themselves_are_as_long_and_as_many_as_asked() -> None:
    run = Run(simulated=True, episodes=2, episode_s=5.0, pause_s=2.0, outcome="failure")
    run.pass_time(1.9)
    assert not run.recording()  # a simulator that has laid its table is like one just switched on
    run.pass_time(4.0)
    assert run.recording()
    run.pass_time(1.5)
    assert not run.recording()
    run.pass_time(2.0)
    assert run.recording()
    run.pass_time(20.0)
    assert [item["outcome"] for item in run.recorder.episodes] == ["failure", "failure"]
    assert run.session.ended
    assert run.session.fault == ""


def test_physics_ends_an_episode_that_succeeds_and_labels_every_one() -> None:
    run = Run(simulated=True, episodes=2, episode_s=5.0, pause_s=0.0, judge=True)
    run.recorder.done = False
    run.pass_time(3.0)
    assert run.recording()
    run.recorder.done = True
    run.pass_time(JUDGE_S + 0.1)
    assert run.session.complete == 1
    run.recorder.done = False
    run.pass_time(6.0)
    assert [item["outcome"] for item in run.recorder.episodes] == ["success", "failure"]


def test_an_unattended_collection_ends_with_the_reason_when_the_recorder_refuses() -> None:
    run = Run(episodes=2, episode_s=5.0)
    run.recorder.broken = "start: the disk is full"
    run.pass_time(1.0)
    assert run.session.ended
    assert run.session.fault == "start: the disk is full"


def test_an_episode_that_another_starts_and_ends_is_followed() -> None:
    run = Run()
    run.recorder.start("put it there", "")
    run.pass_time(SETTLE_S + 0.5)
    followed = [run.session.recording]
    assert "another has started episode 0: “put it there”" in run.told
    run.recorder.stop()
    run.pass_time(SETTLE_S + 0.5)
    assert [*followed, run.session.recording] == [True, False]
    assert run.session.complete == 1


def test_episodes_of_another_count_however_short_they_are_and_not_when_they_are_discarded() -> (
    None
):
    run = Run(episodes=2)
    run.pass_time(0.2)
    for _ in range(2):
        run.recorder.start("put it there", "")
        run.pass_time(0.3)
        run.recorder.stop()
        run.pass_time(0.3)
    run.recorder.discard()
    run.pass_time(SETTLE_S + 0.5)
    assert (run.session.complete, run.session.ended) == (1, False)
    run.do("start", "discard")
    run.recorder.start("put it there", "")
    run.recorder.stop()
    run.pass_time(SETTLE_S + 0.5)
    assert (run.session.complete, run.session.ended) == (2, True)


def test_a_status_that_is_late_is_not_taken_for_another_operator() -> None:
    run = Run()
    run.do("start")
    run.recorder.recording = False  # the newest status is from before the start
    run.pass_time(SETTLE_S - 0.5)
    run.recorder.recording = True
    run.pass_time(SETTLE_S)
    assert run.session.recording
    assert not any("another" in text for text in run.told)


def test_quitting_ends_the_episode() -> None:
    run = Run()
    run.do("start", "quit")
    assert not run.recording()
    assert run.session.ended


@pytest.mark.parametrize("line", ["fly", "stop it", "start now"])
def test_a_line_that_is_no_command_lists_those_there_are(line: str) -> None:
    run = Run()
    run.session.read(line)
    assert run.told[-1].startswith(f"'{line}' is no command; there are toggle, start, stop,")


def test_lines_carry_the_text_of_their_command() -> None:
    run = Run()
    for line in ("instruction  put the red cube in the bowl", "", "start", "label was bumped"):
        run.session.read(line)
    assert run.recorder.episodes[0]["instruction"] == "put the red cube in the bowl"
    assert run.recorder.episodes[0]["text"] == "was bumped"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"episodes": -1}, "--episodes is -1; expected 0 or more"),
        ({"episode_s": float("nan")}, "--seconds is nan; expected 0 or more"),
        ({"pause_s": float("inf")}, "--pause is inf"),
        ({"episode_s": 3.0, "outcome": "fine"}, "--outcome is 'fine'; expected success or"),
        ({"episode_s": 3.0, "judge": True}, "--judge needs the simulator's physics"),
        ({"simulated": True, "judge": True}, "label episodes that end by themselves: --seconds"),
        ({"outcome": "success"}, "label episodes that end by themselves: --seconds"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        SessionSettings(**settings)
