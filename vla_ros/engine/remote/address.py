"""Where a server of graphs is, and how long an answer may take."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from urllib.parse import parse_qsl, urlsplit

from vla_ros.core.errors import EngineError

#: Longest wait for an answer, where the address does not say [s].
DEADLINE_S = 0.1
_EXAMPLE = "remote:ws://127.0.0.1:8765?deadline_ms=80"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What stands behind `remote:`.

    Attributes:
        text: As it was given.
        url: Of the server, without the settings.
        deadline_s: Longest wait for an answer in [s].
    """

    text: str
    url: str
    deadline_s: float = DEADLINE_S

    @staticmethod
    def parse(text: str) -> Address:
        """Read `ws://host:port?deadline_ms=80`.

        Raises:
            EngineError: if it is none; says what is wrong with it.
        """
        parts = urlsplit(text)
        try:
            fits = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number
            fits = False
        if not fits:
            raise EngineError(f"remote:{text}: expected an address such as {_EXAMPLE}")
        deadline_s = DEADLINE_S
        for key, value in parse_qsl(parts.query, keep_blank_values=True):
            if key != "deadline_ms":
                raise EngineError(f"remote:{text}: '{key}' is no setting; deadline_ms is")
            deadline_s = _seconds(text, value)
        return Address(
            text=text,
            url=parts._replace(query="", fragment="").geturl(),
            deadline_s=deadline_s,
        )


def _seconds(text: str, milliseconds: str) -> float:
    try:
        value = float(milliseconds) * 1e-3
    except ValueError:
        value = 0.0
    if not (isfinite(value) and value > 0.0):
        raise EngineError(
            f"remote:{text}: deadline_ms: expected a duration above 0, got '{milliseconds}'"
        )
    return value
