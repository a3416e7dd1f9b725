"""What clients of the network device say, read with distrust."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vla_ros.teleop.intent import Mode

#: Where a joint may be asked to go [rad]; the gate knows the limits.
FARTHEST_RAD = 100.0
KEYS = ("type", "tick", "engaged", "mode", "axes", "positions", "speed")


class Refused(Exception):
    """A message that is not obeyed; says why, for whoever sent it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One message of a client; `tick` in [ms], positions in [rad]."""

    tick: int
    engaged: bool
    mode: Mode
    axes: Mapping[str, float] = field(default_factory=dict)
    positions: Mapping[str, float] | None = None
    speed: float = 1.0


def read_object(text: str | bytes) -> dict[str, Any]:
    """Return the object of a frame.

    Raises:
        Refused: if it holds none.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"expected JSON: {error}") from error
    if not isinstance(values, dict):
        raise Refused(f"expected an object, got {type(values).__name__}")
    return values


def read_move(text: str | bytes, axes: Mapping[Mode, tuple[str, ...]]) -> Move:
    """Return what a client asks for.

    Args:
        text: One frame.
        axes: The modes that are offered, with the names of their axes.

    Raises:
        Refused: if anything in it is not as it should be; names it.
    """
    values = read_object(text)
    if values.get("type") != "move":
        raise Refused(f"type: expected move, got {values.get('type')!r}")
    unknown = [key for key in values if key not in KEYS]
    if unknown:
        raise Refused(f"{unknown[0]}: unknown; expected {', '.join(KEYS)}")
    tick, engaged = values.get("tick"), values.get("engaged")
    if not isinstance(tick, int) or isinstance(tick, bool) or not 0 <= tick < 2**53:
        raise Refused(f"tick: expected the newest tick, got {tick!r}")
    if not isinstance(engaged, bool):
        raise Refused(f"engaged: expected true or false, got {engaged!r}")
    name = values.get("mode", next(iter(axes)))
    if name not in list(axes):
        raise Refused(f"mode: expected one of {', '.join(axes)}, got {name!r}")
    mode = Mode(name)
    positions = values.get("positions")
    speed = _number("speed", values.get("speed", 1.0), 1.0)
    if not speed > 0.0:
        raise Refused(f"speed: expected a number above 0, up to 1, got {speed:g}")
    return Move(
        tick=tick,
        engaged=engaged,
        mode=mode,
        axes=_numbers("axes", values.get("axes", {}), axes[mode], 1.0),
        positions=None
        if positions is None
        else _numbers("positions", positions, axes.get(Mode.JOINT, ()), FARTHEST_RAD),
        speed=speed,
    )


def _numbers(key: str, values: Any, names: tuple[str, ...], most: float) -> dict[str, float]:
    if not isinstance(values, dict):
        raise Refused(f"{key}: expected an object, got {type(values).__name__}")
    for name in values:
        if name not in names:
            raise Refused(f"{key}.{name}: unknown; expected {', '.join(names) or 'none'}")
    return {name: _number(f"{key}.{name}", value, most) for name, value in values.items()}


def _number(key: str, value: Any, most: float) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not (good and -most <= value <= most):  # false for NaN
        raise Refused(f"{key}: expected a number from {-most:g} to {most:g}, got {value!r}")
    return float(value)
