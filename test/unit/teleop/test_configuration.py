"""Files of operators' devices are read carefully: what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vla_ros.contract import load_contract, shipped_contracts
from vla_ros.core.errors import ContractError
from vla_ros.teleop.configuration import find_teleop, load_teleop, shipped_devices
from vla_ros.teleop.intent import Mode

Change = Callable[[dict[str, Any]], object]
CONTRACT = load_contract("tabletop_sim")


def changed(tmp_path: Path, device: str, change: Change) -> Path:
    """Return a copy of a shipped file with a change."""
    values = yaml.safe_load(find_teleop(device).read_text(encoding="utf-8"))
    change(values)
    file = tmp_path / f"{device}.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return file


@pytest.mark.parametrize("robot", shipped_contracts())
@pytest.mark.parametrize("device", shipped_devices())
def test_every_shipped_device_operates_every_shipped_robot(device: str, robot: str) -> None:
    config = load_teleop(device, load_contract(robot))
    assert config.name == device
    assert config.settings.modes


def test_five_devices_are_shipped() -> None:
    assert shipped_devices() == ["gamepad", "keyboard", "leader", "network", "spacemouse"]


def test_a_misspelt_device_is_named_with_those_there_are() -> None:
    with pytest.raises(ContractError, match=r"no device 'gamepat'; shipped are gamepad, .* g"):
        load_teleop("gamepat", CONTRACT)


@pytest.mark.parametrize(
    ("device", "change", "reason"),
    [
        (
            "gamepad",
            lambda v: v["joy"].update(dead_men=1),
            r"joy\.dead_men: unknown key; .* Did you mean 'dead_man'\?",
        ),
        (
            "gamepad",
            lambda v: v["joy"]["axes"]["end_effector"].update(w={"axis": 1}),
            r"joy\.axes\.end_effector\.w: there is no such axis; expected x, y, z, roll, pitch",
        ),
        (
            "gamepad",
            lambda v: v["joy"]["axes"]["joint"].update(joint_9={"axis": 1}),
            r"joy\.axes\.joint\.joint_9: there is no such axis; expected shoulder_pan",
        ),
        (
            "gamepad",
            lambda v: v["joy"].update(dead_man=-1),
            r"joy\.dead_man: expected an index from 0 on, got -1",
        ),
        (
            "gamepad",
            lambda v: v.update(rate_hz=20),
            r"rate_hz: expected 30 Hz or more, got 20: .* `autorepeat_rate`",
        ),
        (
            "gamepad",
            lambda v: v["speed"].update(linear=0),
            r"speed\.linear: expected a number above 0, got 0",
        ),
        (
            "gamepad",
            lambda v: v.update(modes=["fly"]),
            r"modes: expected a list of joint, end_effector, base, each once, got \['fly'\]",
        ),
        (
            "gamepad",
            lambda v: v.update(modes=["base"]),
            r"joy\.axes\.base: missing; expected a mapping",
        ),
        (
            "keyboard",
            lambda v: v["keyboard"]["keys"]["joint"].update(gripper=["q", "p"]),
            r"keys\.joint\.gripper: the key 'q' moves shoulder_pan already",
        ),
        (
            "leader",
            lambda v: v["leader"]["joints"].update(elbow={"source": "a"}),
            r"leader\.joints\.elbow: there is no such axis; expected shoulder_pan",
        ),
        (
            "leader",
            lambda v: v["leader"]["dead_man"].update(type="std_msgs/msg/Int8"),
            r"dead_man\.type: expected one of sensor_msgs/msg/Joy, std_msgs/msg/Bool",
        ),
        (
            "leader",
            lambda v: v.update(modes=["joint", "base"]),
            r"expected modes: \[joint\]",
        ),
        (
            "network",
            lambda v: v["network"].update(host="0.0.0.0"),
            r"network\.host: .* set network\.token, or listen on 127\.0\.0\.1",
        ),
        (
            "network",
            lambda v: v["network"].update(port=70000),
            r"network\.port: expected a port from 0 \(any\) to 65535, got 70000",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    tmp_path: Path, device: str, change: Change, reason: str
) -> None:
    file = changed(tmp_path, device, change)
    with pytest.raises(ContractError, match=reason) as caught:
        load_teleop(file, CONTRACT)
    assert str(caught.value).startswith(str(file))


def test_joints_may_be_named_by_their_number_in_the_contract(tmp_path: Path) -> None:
    file = changed(tmp_path, "gamepad", lambda v: v.update(modes=["joint", "end_effector"]))
    assert load_teleop(file, CONTRACT).settings.modes == (Mode.JOINT, Mode.END_EFFECTOR)
