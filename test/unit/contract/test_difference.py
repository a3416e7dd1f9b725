"""A policy serves another contract only where its inputs and outputs still mean the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vla_ros.contract import RobotContract, load_contract, require_compatible
from vla_ros.core.errors import ContractError

FRONT = "observations/observation.images.front"
ELBOW = "action/joints/elbow_flex"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (f"{FRONT}/width", 160, "observation.images.front size: made with 128x128 px"),
        (
            "observations/observation.images.wrist",
            ...,
            "images.wrist: made with a required sensor",
        ),
        ("observations/observation.imu/rate_hz", 200, "imu.rate_hz: made with 100.0"),
    ],
)
def test_a_contract_under_which_features_mean_something_else_is_refused_by_name(
    load: Callable[..., RobotContract], path: str, value: object, named: str
) -> None:
    trained, running = load_contract("tabletop_sim"), load((path, value))
    with pytest.raises(ContractError) as caught:
        require_compatible(trained, running)
    assert named in str(caught.value)
    assert any(d.breaking for d in require_compatible(trained, running, allow_differences=True))


def test_a_joint_that_turned_and_now_slides_is_refused_by_name() -> None:
    trained = load_contract("tabletop_sim")
    content = trained.to_dict()
    content["action"]["joint_specs"][5]["unit"] = "m"
    with pytest.raises(ContractError, match=r"action\.joints\.gripper\.unit: made with rad"):
        require_compatible(trained, RobotContract.from_dict(content))


def test_joints_in_another_order_are_refused(load: Callable[..., RobotContract]) -> None:
    def reverse(content: dict[str, Any]) -> None:
        joints = content["action"]["joints"]
        content["action"]["joints"] = dict(reversed(joints.items()))

    with pytest.raises(
        ContractError, match=r"action\.joints: made with shoulder_pan.*has gripper"
    ):
        require_compatible(load_contract("tabletop_sim"), load(reverse))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{FRONT}/topic", "/elsewhere"),
        (f"{FRONT}/encoding", "bgr8"),
        ("observations/observation.depth.front", ...),
        (f"{ELBOW}/velocity", 1.0),
        ("action/command/topic", "/commands"),
        ("action/workspace", ...),
    ],
)
def test_differences_that_the_translation_absorbs_are_listed_and_allowed(
    load: Callable[..., RobotContract], path: str, value: object
) -> None:
    trained, running = load_contract("tabletop_sim"), load((path, value))
    assert running.sha256 != trained.sha256
    found = require_compatible(trained, running)
    assert len(found) == 1
    assert not found[0].breaking
