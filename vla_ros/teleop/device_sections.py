"""The sections of a YAML file that belong to one kind of device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vla_ros.contract.section import Section
from vla_ros.core.errors import UserError
from vla_ros.teleop.intent import Mode
from vla_ros.teleop.joy import Binding, JoySettings
from vla_ros.teleop.keyboard import KeyboardSettings
from vla_ros.teleop.leader import BOOL, JOY, LeaderJoint, LeaderSettings
from vla_ros.teleop.network_settings import NetworkSettings

Axes = Mapping[Mode, tuple[str, ...]]


def read_joy(section: Section, axes: Axes) -> JoySettings:
    """Return how a gamepad is used.

    Raises:
        ContractError: naming file and key.
    """
    bound = section.section("axes")
    settings = JoySettings(
        topic=section.text("topic"),
        dead_man=_index(section, "dead_man"),
        deadzone=_share(section, "deadzone", default=0.08),
        bindings={mode: _read_bindings(bound.section(mode), axes, mode) for mode in axes},
        next_mode=_optional_index(section, "next_mode"),
        faster=_optional_index(section, "faster"),
        slower=_optional_index(section, "slower"),
        speed=_share(section, "speed", default=0.5),
    )
    bound.finish()
    section.finish()
    return settings


def read_keyboard(section: Section, axes: Axes) -> KeyboardSettings:
    """Return what keys do.

    Raises:
        ContractError: naming file and key.
    """
    keys = section.section("keys")
    settings = KeyboardSettings(
        keys={mode: _read_keys(keys.section(mode), axes, mode) for mode in axes},
        next_mode=section.text("next_mode"),
        faster=section.text("faster"),
        slower=section.text("slower"),
        speed=_share(section, "speed", default=0.5),
    )
    keys.finish()
    section.finish()
    return settings


def read_leader(section: Section, joints: tuple[str, ...]) -> LeaderSettings:
    """Return where a leader's joints and its switch come from.

    Raises:
        ContractError: naming file and key.
    """
    mapped = section.section("joints")
    followed = {}
    for name in mapped.keys():  # noqa: SIM118 - a Section is no mapping
        joint = mapped.section(name)
        followed[_axis(mapped, name, joints)] = LeaderJoint(
            source=joint.text("source"),
            scale=joint.number("scale", default=1.0),
            offset=joint.number("offset", default=0.0),
        )
        joint.finish()
    if not followed:
        section.fail("joints", "expected one joint or more, got none")
    switch = section.section("dead_man")
    kind = switch.choice("type", (JOY, BOOL))
    settings = LeaderSettings(
        topic=section.text("topic"),
        joints=followed,
        switch_topic=switch.text("topic"),
        switch_type=kind,
        switch_button=_index(switch, "button") if kind == JOY else 0,
    )
    switch.finish()
    section.finish()
    return settings


def read_network(section: Section, rate_hz: float) -> NetworkSettings:
    """Return where to listen.

    Raises:
        ContractError: naming file and key.
    """
    origins = section.value("origins") if section.has("origins") else []
    if not isinstance(origins, list) or not all(isinstance(each, str) for each in origins):
        section.fail("origins", f"expected a list such as [https://desk.local], got {origins!r}")
    port = section.value("port")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        section.fail("port", f"expected a port from 0 (any) to 65535, got {port!r}")
    values: dict[str, Any] = {
        "host": section.text("host"),
        "port": port,
        "token": section.text("token") if section.has("token") else "",
        "origins": tuple(origins),
        "rate_hz": rate_hz,
        "max_delay_s": section.number("max_delay_s", above=0.0, default=0.25),
    }
    section.finish()
    try:
        return NetworkSettings(**values)
    except UserError as error:
        key, _, rest = str(error).partition(": ")
        section.fail(key.rpartition(".")[2], rest)


def _read_bindings(section: Section, axes: Axes, mode: Mode) -> dict[str, Binding]:
    found = {}
    for name in section.keys():  # noqa: SIM118 - a Section is no mapping
        part = section.section(name)
        if part.has("buttons"):
            pair = part.value("buttons")
            if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_index, pair))):
                part.fail("buttons", f"expected [up, down], two indices of buttons, got {pair!r}")
            binding = Binding(buttons=(pair[0], pair[1]))
        elif part.has("toggle"):
            binding = Binding(toggle=_index(part, "toggle"))
        else:
            binding = Binding(axis=_index(part, "axis"), scale=part.number("scale", default=1.0))
        found[_axis(section, name, axes[mode], mode)] = binding
        part.finish()
    return found


def _read_keys(section: Section, axes: Axes, mode: Mode) -> dict[str, tuple[str, float]]:
    found: dict[str, tuple[str, float]] = {}
    for name in section.keys():  # noqa: SIM118 - a Section is no mapping
        pair = section.value(name)
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_key, pair))):
            section.fail(name, f"expected [up, down], two keys in quotes, got {pair!r}")
        for key, side in zip(pair, (1.0, -1.0), strict=True):
            if key in found:
                section.fail(name, f"the key '{key}' moves {found[key][0]} already")
            found[key] = (_axis(section, name, axes[mode], mode), side)
    return found


def _axis(section: Section, name: str, axes: tuple[str, ...], mode: Mode = Mode.JOINT) -> str:
    """Return the axis of a name; in mode `joint`, `joint_2` is the contract's second."""
    if name in axes:
        return name
    numbered = {f"joint_{index + 1}": axis for index, axis in enumerate(axes)}
    if mode is not Mode.JOINT or name not in numbered:
        section.fail(name, f"there is no such axis; expected {', '.join(axes)}")
    return numbered[name]


def _index(section: Section, key: str) -> int:
    value = section.value(key)
    if not _is_index(value):
        section.fail(key, f"expected an index from 0 on, got {value!r}")
    return int(value)


def _optional_index(section: Section, key: str) -> int | None:
    return _index(section, key) if section.has(key) else None


def _share(section: Section, key: str, default: float) -> float:
    value = section.number(key, above=0.0, default=default)
    if value > 1.0:
        section.fail(key, f"expected a share, above 0 and up to 1, got {value:g}")
    return value


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_key(value: object) -> bool:
    return isinstance(value, str) and bool(value)
