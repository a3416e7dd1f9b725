"""The arm changes hands at random moments, through the real gate, arbitration and operator."""

from __future__ import annotations

import pytest

from vla_ros.contract import load_contract
from vla_ros.teleop.configuration import load_teleop
from vla_ros.testing.hand_over import HandOver


@pytest.mark.parametrize(
    ("robot", "device"),
    [("tabletop_sim", "gamepad"), ("so101", "keyboard"), ("tabletop_sim", "leader")],
)
def test_the_arm_changes_hands_without_breaking_a_limit(robot: str, device: str) -> None:
    contract = load_contract(robot)
    arm = HandOver(contract, load_teleop(device, contract).settings, seed=7)
    for _ in range(15):
        arm.hand_over()
    report = arm.report
    assert (report.takeovers, report.releases) == (15, 15)
    assert report.violations == {}
    assert report.commands > 1000
    assert report.velocity_share > 0.2, "the arm hardly moved"


def test_a_silent_operators_arm_is_at_rest_within_a_tenth_of_a_second() -> None:
    contract = load_contract("tabletop_sim")
    arm = HandOver(contract, load_teleop("gamepad", contract).settings, seed=3)
    for _ in range(15):
        arm.fall_silent()
    assert arm.report.violations == {}
    assert len(arm.report.silence_s) == 15
    assert max(arm.report.silence_s) <= 0.1
