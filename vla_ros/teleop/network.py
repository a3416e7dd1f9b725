"""Operators who come over the network: a WebSocket server, for a web page, a phone, a program.

The protocol, version 1, in text frames of JSON. The server greets:

    {"type": "welcome", "version": 1, "modes": ["end_effector", ...],
     "axes": {"end_effector": ["x", "y", "z", "roll", "pitch", "yaw", "gripper"],
              "joint": ["shoulder_pan", ...], "base": ["forward", "left", "turn"]},
     "rate_hz": 30, "max_delay_s": 0.25}

and says 20 times a second what is going on (`yours`: whether this connection has the arm):

    {"type": "situation", "tick": 81234, "state": "engaged", "actor": "operator", "reason": "",
     "yours": true}

`state` is `idle`, `engaged`, `silent` or `stopped` (see `OperatorState`). A client sends, from
`rate_hz` to 100 times a second for as long as it is there, pressed or not:

    {"type": "move", "tick": 81234, "engaged": true, "mode": "end_effector",
     "axes": {"x": 0.5, "gripper": -1.0}, "speed": 0.5}

`tick` is the newest that it has got, and proves that the message is not an old one which the
network had held back: one whose tick is older than `max_delay_s` does not count. `engaged` is the
dead-man switch. Axes are shares of the highest speed, -1 to 1; those that are missing stand still.
`mode` and `speed` may be left out: the first mode, and 1. In place of axes, `positions` may say
where joints should be [rad]: a leader arm on another machine. What cannot be understood is
answered, and is not obeyed:

    {"type": "refused", "reason": "axes.x: expected a number from -1 to 1, got 3"}

Whoever presses first has the arm until that connection lets go; who has pressed meanwhile has to
release first. The end of a connection that has the arm is silence, not letting go: the arm stops
and is held, until somebody presses and lets go.

A page of any web site can make its visitor's browser connect to this machine. So browsers are
heard from pages of this machine only, unless `origins` names others, or there is a `token`, which
no other page knows; it is given as `ws://host:port/?token=...`, and needed beyond the loopback.
What may be asked of the recorder is said in `recording_desk`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vla_ros.core.errors import UserError
from vla_ros.teleop.device import Feed
from vla_ros.teleop.intent import Intent, Mode, Situation
from vla_ros.teleop.network_messages import Refused, read_move
from vla_ros.teleop.network_settings import NetworkSettings
from vla_ros.teleop.pages import Page, answer_request
from vla_ros.teleop.recording_desk import RecordingDesk, read_request

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import Server, ServerConnection

VERSION = 1
#: How often clients are told what is going on [s], and the largest message that is read [bytes].
TELL_S, MAX_BYTES = 0.05, 8192
#: Browsers open connections ahead, on which nothing comes; `stop` waits for them so long [s].
OPEN_S = 2.0
#: Of what the recorder does they are told every so many times.
DESK_TURNS = 5
#: After the end of a connection that had the arm nobody is heard for so long [ns]: what the others
#: say must not be taken for its letting go.
SILENCE_NS = 200_000_000
#: Pages of this machine, which browsers may connect from.
LOCAL_PAGES = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")

_log = logging.getLogger(__name__)


class NetworkDevice:
    """A server in a thread of its own; one of its clients at a time has the arm."""

    def __init__(
        self,
        settings: NetworkSettings,
        axes: Mapping[Mode, tuple[str, ...]],
        *,
        pages: Mapping[str, Page] | None = None,
        desk: RecordingDesk | None = None,
        show_token: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Prepare to serve.

        Args:
            settings: Where.
            axes: The modes that are offered, with the names of their axes.
            pages: Path such as `/` to what a browser gets there.
            desk: Passes on what operators ask of the recorder; without it nothing can be asked.
            show_token: Whether the standard error tells it; a log goes to others as well.
            clock_ns: The clock that `read` is called with [ns].
        """
        self.settings = settings
        self._shown = f"?token={settings.token}" if show_token else ""
        self._axes = {mode: tuple(names) for mode, names in axes.items()}
        self._pages = dict(pages or {})
        self._desk = desk
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._owner: object | None = None
        self._released: set[object] = set()
        self._silent_until_ns = 0
        self._intent: Intent | None = None
        self._situation = Situation()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """None: what comes, comes by the network."""
        return ()

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        assert self._server is not None
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Listen.

        Raises:
            UserError: if the port is taken, or `websockets` is not installed.
        """
        try:
            from websockets.sync.server import serve
        except ImportError as error:
            raise UserError("teleop: the network device needs `pip install websockets`") from error
        settings = self.settings
        allowed = [None, LOCAL_PAGES, *settings.origins]
        try:
            self._server = serve(
                self._attend,
                settings.host,
                settings.port,
                origins=None if settings.token else allowed,  # type: ignore[arg-type]
                process_request=self._answer_request,
                compression=None,
                max_size=MAX_BYTES,
                open_timeout=OPEN_S,
                ping_interval=2.0,
                ping_timeout=5.0,
                close_timeout=1.0,
                logger=logging.getLogger(f"{__name__}.websockets"),
            )
        except OSError as error:
            raise UserError(
                f"network: cannot listen on {settings.host}:{settings.port}: {error}; choose"
                " another network.port"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="operators", daemon=True
        )
        self._thread.start()
        address = f"http://{settings.host}:{self.port}/"
        if self._shown:
            print(f"operators connect to {address}{self._shown}", file=sys.stderr, flush=True)
        else:
            _log.info("operators connect to %s", address)

    def read(self, now_ns: int) -> Intent | None:
        """Return what the operator who has the arm, or speaks, wanted last."""
        return self._intent

    def tell(self, situation: Situation) -> None:
        """Pass on to every client what is going on."""
        self._situation = situation

    def stop(self) -> None:
        """Close every connection and stop listening."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
        if self._thread is not None:
            self._thread.join(2.0)
            self._thread = None
        self._owner = self._intent = None

    def _attend(self, connection: ServerConnection) -> None:
        """Speak with one client to its end, in a thread of its own."""
        from websockets.exceptions import ConnectionClosed

        next_ns = turn = 0
        try:
            connection.send(json.dumps(self._greeting()))
            while self._server is not None:
                now_ns = self._clock_ns()
                if now_ns >= next_ns:
                    connection.send(json.dumps(self._report(connection, now_ns)))
                    if self._desk is not None and turn % DESK_TURNS == 0:
                        report = {"type": "recording", **self._desk.report()}
                        connection.send(json.dumps(report))
                    next_ns, turn = now_ns + round(TELL_S * 1e9), turn + 1
                try:
                    text = connection.recv(timeout=max(0.0, (next_ns - now_ns) * 1e-9))
                except TimeoutError:
                    continue
                try:
                    self._hear(connection, text)
                except Refused as refused:
                    connection.send(json.dumps({"type": "refused", "reason": str(refused)}))
        except ConnectionClosed:
            pass
        finally:
            self._forget(connection)

    def _hear(self, client: object, text: str | bytes) -> None:
        now_ns = self._clock_ns()
        request = read_request(text) if self._desk is not None else None
        if self._desk is not None and request is not None:
            self._desk.ask(request)
            return
        move = read_move(text, self._axes)
        delay_s = (now_ns - move.tick * 1_000_000) * 1e-9
        if not -0.002 <= delay_s <= self.settings.max_delay_s:
            raise Refused(
                f"tick: it is {delay_s:.3f} s old, at most {self.settings.max_delay_s:g} s counts:"
                " the connection is too slow, or the newest tick was not sent back"
            )
        with self._lock:
            if self._may_speak(client, move.engaged, now_ns):
                self._intent = Intent(
                    time_ns=now_ns,
                    engaged=move.engaged,
                    mode=move.mode,
                    axes=move.axes,
                    positions=move.positions,
                    speed=move.speed,
                )

    def _may_speak(self, client: object, engaged: bool, now_ns: int) -> bool:
        """Return whether what a client says counts now; who presses first has the arm.

        Raises:
            Refused: if somebody else has it.
        """
        if not engaged:
            self._released.add(client)
            if self._owner is client:
                self._owner = None
                return True
            return self._owner is None and now_ns >= self._silent_until_ns
        if self._owner is client:
            return True
        pressed_anew = client in self._released
        self._released.discard(client)
        if self._owner is not None:
            raise Refused("engaged: another operator has the arm")
        if not pressed_anew or now_ns < self._silent_until_ns:
            raise Refused("engaged: release the switch, and press it again")
        self._owner = client
        return True

    def _forget(self, client: object) -> None:
        with self._lock:
            self._released.discard(client)
            if self._owner is client:
                self._owner = None
                self._silent_until_ns = self._clock_ns() + SILENCE_NS

    def _greeting(self) -> dict[str, Any]:
        return {
            "type": "welcome",
            "version": VERSION,
            "modes": [str(mode) for mode in self._axes],
            "axes": {str(mode): list(names) for mode, names in self._axes.items()},
            "rate_hz": self.settings.rate_hz,
            "max_delay_s": self.settings.max_delay_s,
        }

    def _report(self, client: object, now_ns: int) -> dict[str, Any]:
        situation = self._situation
        return {
            "type": "situation",
            "tick": now_ns // 1_000_000,
            "state": str(situation.state),
            "actor": situation.actor,
            "reason": situation.reason,
            "yours": self._owner is client,
        }

    def _answer_request(self, connection: ServerConnection, request: Request) -> Response | None:
        return answer_request(connection, request, self.settings.token, self._pages)
