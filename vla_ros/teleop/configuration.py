"""From a YAML file to an operator's device, as carefully as a contract is read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from vla_ros.contract import RobotContract
from vla_ros.contract.section import Section
from vla_ros.core.errors import ContractError, UserError
from vla_ros.core.resources import resource_path
from vla_ros.teleop.device import Device
from vla_ros.teleop.device_sections import (
    read_joy,
    read_keyboard,
    read_leader,
    read_network,
)
from vla_ros.teleop.intent import BASE_AXES, CARTESIAN, GRIPPER, Mode
from vla_ros.teleop.joy import JoyDevice
from vla_ros.teleop.keyboard import KeyboardDevice
from vla_ros.teleop.leader import LeaderDevice
from vla_ros.teleop.network import NetworkDevice
from vla_ros.teleop.pages import operator_pages
from vla_ros.teleop.recording_desk import RecordingDesk
from vla_ros.teleop.settings import Speeds, TeleopSettings
from vla_ros.teleop.timing import stoppable_speed

VERSION = 1
FRAMES = ("base", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a device may need to know of where it runs.

    Attributes:
        terminal: Path of the terminal for the keyboard; "" for the process's own.
        clock_ns: The clock that devices are read with [ns].
        make_desk: Makes what passes operators' wishes on to the recorder; None for nothing.
        token: What operators on the network have to give where the device's file says nothing.
        show_token: Whether the log tells it, since nobody knows it yet.
    """

    terminal: str
    clock_ns: Callable[[], int]
    make_desk: Callable[[], RecordingDesk] | None = None
    token: str = ""
    show_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TeleopConfig:
    """A device, and what is done with what it says."""

    name: str
    settings: TeleopSettings
    make_device: Callable[[Place], Device]


Axes = Mapping[Mode, tuple[str, ...]]
Maker = Callable[[Section, TeleopSettings, Axes], Callable[[Place], Device]]


def axes_of(contract: RobotContract) -> Axes:
    """Return which axes a robot has in each mode."""
    joints = contract.action.joints
    hands = (GRIPPER,) if set(joints) - set(contract.chain().names) else ()
    return {
        Mode.END_EFFECTOR: (*CARTESIAN, *hands),
        Mode.JOINT: (*joints, *(hand for hand in hands if hand not in joints)),
        Mode.BASE: (*BASE_AXES, *hands),
    }


def load_teleop(name: str | Path, contract: RobotContract) -> TeleopConfig:
    """Return the configuration of a shipped device by its name, or of a YAML file by its path.

    Args:
        name: Such as `gamepad`, or the path of a YAML file.
        contract: Of the robot that is operated.

    Raises:
        ContractError: if there is none, or something in it is wrong; names file, key, what was
            expected, what came, and the way out.
    """
    file = find_teleop(name)
    top = Section.read(file)
    version = top.number("version")
    if version != VERSION:
        top.fail("version", f"expected {VERSION}, got {version:g}. See docs/how-to/teleoperate.md")
    device = top.choice("device", MAKERS)
    settings = _read_settings(top)
    try:
        stoppable_speed(contract.limits, settings.rate_hz)
    except UserError as error:
        _again(top, error)
    every = axes_of(contract)
    axes = {mode: every[mode] for mode in settings.modes}
    make_device = MAKERS[device](top.section(device), settings, axes)
    top.finish()
    return TeleopConfig(name=file.stem, settings=settings, make_device=make_device)


def find_teleop(name: str | Path) -> Path:
    """Return the file of a shipped device's name, or of a path.

    Raises:
        ContractError: if there is none; lists the shipped names.
    """
    text = str(name)
    if "/" in text or text.endswith((".yaml", ".yml")):
        file = Path(text).expanduser()
        if not file.is_file():
            raise ContractError(f"{file}: there is no such file of an operator's device")
        return file
    names = shipped_devices()
    if text in names:
        return resource_path(f"config/teleop/{text}.yaml")
    near = difflib.get_close_matches(text, names, n=1)
    raise ContractError(
        f"teleop: there is no device '{text}'; shipped are {', '.join(names)}."
        f" {f'Did you mean {near[0]}? ' if near else ''}Or give the path of a YAML file."
    )


def shipped_devices() -> list[str]:
    """Return the names of the devices that come with vla_ros."""
    return sorted(file.stem for file in resource_path("config/teleop").glob("*.yaml"))


def _read_settings(top: Section) -> TeleopSettings:
    speed = top.section("speed")
    speeds = Speeds(
        linear=speed.number("linear", above=0.0),
        angular=speed.number("angular", above=0.0),
        joint=speed.number("joint", above=0.0),
        gripper=speed.number("gripper", above=0.0),
        follow=speed.number("follow", above=0.0, default=1.5),
        catch_up=speed.number("catch_up", above=0.0, default=0.5),
        base_linear=speed.number("base_linear", above=0.0, default=0.3),
        base_angular=speed.number("base_angular", above=0.0, default=0.8),
    )
    speed.finish()
    return TeleopSettings(
        rate_hz=top.number("rate_hz", above=0.0),
        modes=_read_modes(top),
        speeds=speeds,
        tool_frame=top.choice("frame", FRAMES) == "tool" if top.has("frame") else False,
        base_topic=top.text("base_topic") if top.has("base_topic") else "/cmd_vel",
    )


def _read_modes(top: Section) -> tuple[Mode, ...]:
    names, known = top.value("modes"), [str(mode) for mode in Mode]
    good = isinstance(names, list) and names and all(name in known for name in names)
    if not good or len(set(names)) != len(names):
        top.fail("modes", f"expected a list of {', '.join(known)}, each once, got {names!r}")
    return tuple(Mode(name) for name in names)


def _again(section: Section, error: UserError) -> NoReturn:
    key, _, rest = str(error).partition(": ")
    section.fail(key, rest)


def _make_joy(section: Section, settings: TeleopSettings, axes: Axes) -> Callable[[Place], Device]:
    joy = read_joy(section, axes)
    return lambda place: JoyDevice(joy, settings.modes)


def _make_keyboard(
    section: Section, settings: TeleopSettings, axes: Axes
) -> Callable[[Place], Device]:
    keys = read_keyboard(section, axes)
    return lambda place: KeyboardDevice(
        keys, settings.modes, terminal=place.terminal, clock_ns=place.clock_ns
    )


def _make_leader(
    section: Section, settings: TeleopSettings, axes: Axes
) -> Callable[[Place], Device]:
    if settings.modes != (Mode.JOINT,):
        section.fail("modes", "a leader arm says where joints should be: expected modes: [joint]")
    leader = read_leader(section, axes[Mode.JOINT])
    return lambda place: LeaderDevice(leader)


def _make_network(
    section: Section, settings: TeleopSettings, axes: Axes
) -> Callable[[Place], Device]:
    network = read_network(section, settings.rate_hz)
    return lambda place: NetworkDevice(
        replace(network, token=network.token or place.token),
        axes,
        pages=operator_pages(),
        show_token=place.show_token and not network.token,
        desk=place.make_desk() if place.make_desk is not None else None,
        clock_ns=place.clock_ns,
    )


#: The kinds of devices; a file's `device` names one, and the section of that name belongs to it.
MAKERS: dict[str, Maker] = {
    "joy": _make_joy,
    "keyboard": _make_keyboard,
    "leader": _make_leader,
    "network": _make_network,
}
