"""One readable log of all nodes: time, node, what it says, coloured by node and severity."""

from __future__ import annotations

import re
from datetime import datetime

from rich.console import Console
from rich.text import Text

NODE_STYLES = {
    "sim": "cyan",
    "gate": "magenta",
    "policy": "green",
    "planner": "blue",
    "teleop": "yellow",
    "recorder": "red",
    "": "bold",
}
SEVERITY_STYLES = {
    "DEBUG": "dim",
    "INFO": "",
    "WARN": "yellow",
    "ERROR": "red",
    "FATAL": "bold red",
}
LINE = re.compile(r"^\[(DEBUG|INFO|WARN|ERROR|FATAL)\] (.*)$")


class GraphLog:
    """Prints lines to a console."""

    def __init__(self, console: Console | None = None) -> None:
        """Print to `console`; None takes the standard output."""
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._severity: dict[str, str] = {}

    def __call__(self, node: str, line: str) -> None:
        """Print one line of `node`; "" is the graph itself."""
        found = LINE.match(line)
        if found:
            self._severity[node], message = found.groups()
        else:
            message = line  # a further line of the message before, or a plain print
        style = SEVERITY_STYLES[self._severity.get(node, "INFO")]
        text = Text(f"{datetime.now():%H:%M:%S} ", style="dim")
        text.append(f"{node or 'graph':>8} ", style=NODE_STYLES.get(node, "white"))
        text.append(message, style=style)
        self._console.print(text)
