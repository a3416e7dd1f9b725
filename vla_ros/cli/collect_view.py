"""What is being recorded, as a live picture of a terminal or as plain lines of a log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

#: `RecorderStatus.state` in words, and how they look.
STATES = {0: ("idle", "bold"), 1: ("RECORDING", "bold red"), 2: ("watching", "bold cyan")}
RECORDING = 1
#: A topic that comes at less than this share of the contract's rate is shown in yellow, and one
#: that does not come at all in red.
GOOD_SHARE = 0.9
#: Silent for this long, the recorder is gone [s].
SILENCE_S = 3.0
#: Plain lines: how often the state of the episode is said [s].
LINE_S = 5.0
#: How often the picture is drawn anew [Hz].
REFRESH_HZ = 5.0
NUMBER = re.compile(r"\d+(\.\d+)?")
ACTORS = {"policy": "the policy acts", "operator": "the OPERATOR acts", "": "nobody acts"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is to be shown.

    Attributes:
        status: Newest `RecorderStatus`; None before the first.
        actor: Who moves the robot: "policy", "operator" or "".
        silent_s: How long ago the recorder was heard last [s].
        instruction: Of the next episode; "" takes the one in force.
        operator: What the operator's device shows: its keys, its state.
        prompt: What is being typed, or what can be.
        said: What happened last, newest last.
    """

    status: Any
    actor: str
    silent_s: float
    instruction: str
    operator: Sequence[str]
    prompt: str
    said: Sequence[str]


class View(Protocol):
    """Shows moments; a context manager."""

    def __enter__(self) -> View:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""

    def show(self, moment: Moment) -> None:
        """Show what is now; called many times a second."""

    def say(self, text: str) -> None:
        """Tell what has happened."""


def draw(moment: Moment, rates_hz: Mapping[str, float]) -> RenderableType:
    """Return the picture of a moment; a low terminal cuts off the topics that are well.

    Args:
        moment: What is to be shown.
        rates_hz: Rates by topic that the contract promises [Hz].
    """
    status = moment.status
    if status is None:
        parts: list[RenderableType] = [Text("the recorder is not heard yet", style="yellow")]
    else:
        parts = [_headline(status, moment), _numbers(status)]
        parts += [Text(f"! {text}", style="yellow") for text in status.warnings]
    if moment.silent_s > SILENCE_S:
        parts.append(Text(f"! no word of the recorder for {moment.silent_s:.0f} s", style="red"))
    parts += [Text(text, style="dim") for text in moment.said]
    parts += [Text(text, style="cyan") for text in moment.operator]
    parts.append(Text(moment.prompt, style="bold"))
    if status is not None:
        parts.append(_topics(status, rates_hz))
    return Panel(Group(*parts), title="vla_ros collect", title_align="left")


def episode_title(path: str) -> str:
    """Return `episode 3` for the folder of an episode."""
    number = Path(path).name.rpartition("_")[2]
    return f"episode {int(number)}" if number.isdigit() else "no episode yet"


def _headline(status: Any, moment: Moment) -> Text:
    name, style = STATES.get(status.state, (str(status.state), "bold"))
    line = Text.assemble((f"{name}  ", style), (episode_title(status.path), "bold"))
    line.append(f"  {_clock(status.duration_s)}  ")
    text = status.instruction if status.state == RECORDING else moment.instruction
    ahead = "" if status.state == RECORDING else "next: "
    line.append(f"{ahead}“{text}”" if text else f"{ahead}no instruction", style="italic")
    acting = "bold magenta" if moment.actor == "operator" else "dim"
    line.append(f"  {ACTORS.get(moment.actor, moment.actor)}", style=acting)
    return line


def _numbers(status: Any) -> Text:
    line = Text(
        f"{status.messages:,} messages  {_size(status.bytes)}  "
        f"{_size(status.disk_free)} free  {status.episodes} complete  "
    )
    line.append(f"{status.lost} lost", style="bold red" if status.lost else "green")
    return line


def _topics(status: Any, rates_hz: Mapping[str, float]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("topic")
    table.add_column("messages/s", justify="right")
    table.add_column("of", justify="right", style="dim")
    rows = [
        (rate_hz / rates_hz[topic] if topic in rates_hz else 1.0, topic, rate_hz)
        for topic, rate_hz in zip(status.topics, status.rates_hz, strict=False)
    ]
    rows.sort(key=lambda row: (row[0] >= GOOD_SHARE, row[0] if row[0] < GOOD_SHARE else 0.0))
    for share, topic, rate_hz in rows:  # the worst first, the others as they come
        style = "" if share >= GOOD_SHARE else "yellow" if rate_hz > 0 else "red"
        of = f"{rates_hz[topic]:g}" if topic in rates_hz else ""
        table.add_row(Text(topic, style=style), Text(f"{rate_hz:.1f}", style=style), of)
    return table


def _clock(duration_s: float) -> str:
    minutes, seconds = divmod(max(0.0, duration_s), 60.0)
    return f"{int(minutes):02d}:{seconds:04.1f}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class LiveView:
    """A picture that is drawn anew several times a second."""

    def __init__(self, console: Console, rates_hz: Mapping[str, float]) -> None:
        """Draw on `console`; `rates_hz` are the rates by topic that the contract promises."""
        self._rates_hz = rates_hz
        self._live = Live(
            console=console, refresh_per_second=REFRESH_HZ, transient=False, screen=False
        )

    def __enter__(self) -> LiveView:
        """Begin to draw."""
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last picture in the terminal."""
        self._live.__exit__(kind, error, trace)

    def show(self, moment: Moment) -> None:
        """Draw what is now."""
        self._live.update(draw(moment, self._rates_hz))

    def say(self, text: str) -> None:
        """Do nothing: what has happened is part of the picture."""


class LineView:
    """Lines for a log: what changes, and every few seconds how far the episode is."""

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Hand lines to `write`; `clock` is a monotonic time in [s]."""
        self._write, self._clock = write, clock
        self._warnings: frozenset[str] = frozenset()
        self._actor, self._state, self._lost, self._silent = "", -1, 0, False
        self._due_s = 0.0

    def __enter__(self) -> LineView:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """There is nothing to end."""

    def say(self, text: str) -> None:
        """Write a line."""
        self._write(text)

    def show(self, moment: Moment) -> None:
        """Write what has changed."""
        silent = moment.silent_s > SILENCE_S
        if silent and not self._silent:
            self._write(f"no word of the recorder for {moment.silent_s:.0f} s")
        self._silent = silent
        status = moment.status
        if status is None:
            return
        self._tell_changes(status, moment.actor)
        if status.state == RECORDING and self._clock() >= self._due_s:
            self._due_s = self._clock() + LINE_S
            self._write(_progress(status, moment.actor))

    def _tell_changes(self, status: Any, actor: str) -> None:
        if status.state != self._state:
            self._state, self._due_s = status.state, 0.0
            if status.state != RECORDING:
                self._write(
                    f"{STATES.get(status.state, ('?', ''))[0]}, {status.episodes} complete"
                )
        if actor != self._actor:
            self._actor = actor
            self._write(ACTORS.get(actor, actor))
        warnings = {NUMBER.sub("", text): text for text in status.warnings}
        for kind in sorted(warnings.keys() - self._warnings):  # its numbers change all the time
            self._write(f"warning: {warnings[kind]}")
        self._warnings = frozenset(warnings)
        if status.lost > self._lost:
            self._write(f"warning: {status.lost} messages lost")
        self._lost = status.lost


def _progress(status: Any, actor: str) -> str:
    slow = ", ".join(
        f"{topic} {rate_hz:.0f}/s"
        for topic, rate_hz in zip(status.topics, status.rates_hz, strict=False)
    )
    return (
        f"recording {episode_title(status.path)}: {_clock(status.duration_s)}, "
        f"“{status.instruction}”, {ACTORS.get(actor, actor)}, {status.messages} messages, "
        f"{status.lost} lost, {_size(status.disk_free)} free; {slow}"
    )
