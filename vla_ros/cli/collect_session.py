"""The course of a collection: what each command does, and episodes that run by themselves."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from vla_ros.cli.collect_commands import Command, parse_line
from vla_ros.cli.collect_settings import SessionSettings
from vla_ros.cli.collect_view import RECORDING, episode_title
from vla_ros.core.errors import UserError

#: What was said last stays in the picture.
KEPT_LINES = 5
#: Scenes are drawn from the training seeds, one after the other.
SPLIT = "train"
#: The recorder's word counts, after this long, where it differs from what was done here [s].
SETTLE_S = 1.5
#: How often physics is asked whether the task is done [s].
JUDGE_S = 0.5


class Recorder(Protocol):
    """What a session asks for; `RecorderClient` has it."""

    @property
    def status(self) -> Any:
        """Newest `RecorderStatus`; None before the first."""

    def start(self, instruction: str, operator: str) -> str:
        """Begin an episode; return its folder."""

    def stop(self) -> str:
        """End the episode."""

    def label(self, outcome: str, text: str = "") -> str:
        """Label the episode, or the last one."""

    def discard(self) -> str:
        """Put the episode, or the last one, aside."""

    def undo(self) -> str:
        """Take back what was discarded last."""

    def lay_scene(self, seed: int, split: str, skill: str) -> str:
        """Lay the simulated table anew; return its sentence."""

    def judge(self) -> bool:
        """Return whether physics says that the task is done."""


class Session:
    """One collection from its start to its end.

    Attributes:
        instruction: Of the next episode.
        said: What happened last, newest last.
        complete: Episodes that this session has recorded and not discarded.
        ended: Whether it is over.
        fault: Why an episode that was to run by itself could not; "" if all is well.
    """

    def __init__(
        self,
        recorder: Recorder,
        settings: SessionSettings,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with no episode.

        Args:
            recorder: Is asked for everything.
            settings: How the collection runs.
            say: Is told what has happened.
            clock: Monotonic time in [s].
        """
        self._recorder, self._settings, self._clock = recorder, settings, clock
        self._tell = say
        self.instruction = settings.instruction
        self.said: deque[str] = deque(maxlen=KEPT_LINES)
        self.complete = 0
        self.ended = False
        self.fault = ""
        self._scenes = 0
        self._said_of_it = ("", "")  # outcome and text of the episode, or of the last one
        self._since_s: float | None = None
        self._differs_s: float | None = None
        self._before: int | None = None  # episodes that were there before
        self._next_s = self._judge_s = clock()

    @property
    def recording(self) -> bool:
        """Whether an episode is being recorded."""
        return self._since_s is not None

    def begin(self) -> None:
        """Lay the first scene, if there is a simulator.

        Raises:
            UserError: if it cannot be laid.
        """
        if self._settings.simulated:
            self._prepare()

    def do(self, command: Command) -> None:
        """Do what a command says; what goes wrong is said, and nothing else."""
        try:
            self._commands()[command.name](command.text)
        except UserError as error:
            self.say(f"{command.name}: {error}")

    def read(self, line: str) -> None:
        """Do what a line of text says."""
        try:
            command = parse_line(line)
        except ValueError as error:
            self.say(str(error))
        else:
            if command is not None:
                self.do(command)

    def go_on(self) -> None:
        """Start and end what does so by itself; called again and again."""
        settings, now_s = self._settings, self._clock()
        try:
            self._notice_others(now_s)
            if settings.episode_s <= 0.0 or self.ended:
                return
            if self._since_s is None and now_s >= self._next_s:
                self._start("")
            elif self._since_s is not None:
                self._judge(now_s, now_s - self._since_s >= settings.episode_s)
        except UserError as error:
            self.fault = str(error)
            self.ended = True
            self.say(self.fault)

    def close(self) -> None:
        """End the episode that is being recorded, and the session.

        Raises:
            UserError: if the recorder does not end it.
        """
        self.ended = True
        if self._since_s is not None:
            self._stop("")

    def _commands(self) -> dict[str, Callable[[str], None]]:
        return {
            "toggle": lambda _: self._start("") if self._since_s is None else self._end(""),
            "start": self._start,
            "stop": lambda _: self._end(""),
            "success": lambda _: self._end("success"),
            "failure": lambda _: self._end("failure"),
            "discard": self._discard,
            "undo": self._undo,
            "scene": self._lay_scene,
            "instruction": self._instruct,
            "label": self._note,
            "quit": self._quit,
        }

    def _start(self, _: str) -> None:
        if self._since_s is not None:
            raise UserError("an episode is being recorded; stop it first")
        path = self._recorder.start(self.instruction, self._settings.operator)
        self._since_s = self._clock()
        self._said_of_it = ("", "")
        self.say(f"started {episode_title(path)}: “{self.instruction}”")

    def _end(self, outcome: str) -> None:
        """End the episode with a label; label the last one if none is being recorded."""
        if self._since_s is None:
            if not outcome:
                raise UserError("no episode is being recorded")
            self.say(self._label(outcome, self._said_of_it[1]) or f"labelled {outcome}")
            return
        if outcome:  # before its end, so that it is never on disk without
            self._label(outcome, self._said_of_it[1])
        self._stop(outcome)

    def _note(self, text: str) -> None:
        self.say(self._label(self._said_of_it[0], text) or f"labelled “{text}”")

    def _label(self, outcome: str, text: str) -> str:
        """Label the episode; a label replaces the one before, so both parts are said each time."""
        message = self._recorder.label(outcome, text)
        self._said_of_it = (outcome, text)
        return message

    def _stop(self, outcome: str) -> None:
        message = self._recorder.stop()
        self.say(f"{outcome or 'ended'}. {message}".rstrip())
        self._count()

    def _count(self) -> None:
        """Note that an episode is complete, and prepare the next one."""
        self.complete += 1
        self._go_to_next()

    def _go_to_next(self) -> None:
        if 0 < self._settings.episodes <= self.complete:
            self.ended = True
        self._prepare()

    def _prepare(self) -> None:
        self._since_s, self._next_s = None, self._clock() + self._settings.pause_s
        if self._settings.simulated and not self.ended:
            self._lay_scene("")

    def _discard(self, _: str) -> None:
        message = self._recorder.discard()
        self.say(message or "discarded")
        if self._since_s is None:
            self.complete = max(0, self.complete - 1)
        else:
            self._prepare()

    def _undo(self, _: str) -> None:
        self.say(self._recorder.undo() or "taken back")
        self.complete += 1

    def _lay_scene(self, _: str) -> None:
        """Lay the next scene; its sentence is the instruction, unless the user gave one."""
        settings = self._settings
        if not settings.simulated:
            raise UserError("a real table is laid by hand")
        if self._since_s is not None:
            raise UserError("an episode is being recorded; stop it first")
        seed, self._scenes = settings.seed + self._scenes, self._scenes + 1
        sentence = self._recorder.lay_scene(seed, SPLIT, settings.skill)
        self.instruction = settings.instruction or sentence
        self.say(f"new scene: “{sentence}”")

    def _instruct(self, text: str) -> None:
        if not text:
            raise UserError("say what the robot is to do")
        self.instruction = text
        self.say(f"the next episode is “{text}”")

    def _quit(self, _: str) -> None:
        self.close()

    def _judge(self, now_s: float, time_is_up: bool) -> None:
        """End an episode that runs by itself: when its time is up, or physics says it is done."""
        if not self._settings.judge:
            if time_is_up:
                self._end(self._settings.outcome)
            return
        if time_is_up or now_s >= self._judge_s:
            self._judge_s = now_s + JUDGE_S
            done = self._recorder.judge()
            if done or time_is_up:
                self._end("success" if done else "failure")

    def _notice_others(self, now_s: float) -> None:
        """Follow what another has recorded, as the buttons of the operator's page do."""
        status = self._recorder.status
        if status is None:
            return
        if self._before is None:
            self._before = int(status.episodes) - self.complete
        recording = status.state == RECORDING
        complete = int(status.episodes) - self._before
        if recording == self.recording and (recording or complete == self.complete):
            self._differs_s = None
            return
        if self._differs_s is None:
            self._differs_s = now_s
        if now_s - self._differs_s < SETTLE_S:
            return
        self._differs_s = None
        if recording:
            self._since_s = now_s
            self.say(f"another has started {episode_title(status.path)}: “{status.instruction}”")
            return
        self.say(f"another has recorded or discarded: {complete} complete")
        recorded = self._since_s is not None or complete > self.complete
        self.complete = complete
        if recorded:
            self._go_to_next()

    def say(self, text: str) -> None:
        """Keep a line that tells what has happened, and tell it."""
        self.said.append(text)
        self._tell(text)
