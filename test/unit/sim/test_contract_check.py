"""The simulated table refuses to be another robot than it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import ContractError
from vla_ros.sim.contract_check import check_contract

FRONT, DEPTH = "observation.images.front", "observation.depth.front"
IMU, STATE = "observation.imu", "observation.state"


def changed(feature: str, /, **values: Any) -> RobotContract:
    """Return the simulated robot's contract with one sensor changed."""
    contract = load_contract("tabletop_sim")
    specs = tuple(
        replace(spec, **values) if spec.feature == feature else spec
        for spec in contract.observations
    )
    return replace(contract, observations=specs)


@pytest.mark.parametrize(
    ("feature", "key", "value", "message"),
    [
        (FRONT, "width", 640, "front.width: the simulator gives 128, the contract says 640"),
        (FRONT, "height", 96, "front.height: the simulator gives 128, the contract says 96"),
        (FRONT, "encoding", "bgr8", "encoding: the simulator gives rgb8, the contract says bgr8"),
        (FRONT, "type", "sensor_msgs/msg/CompressedImage", "gives sensor_msgs/msg/Image, the"),
        (FRONT, "frame", "camera", "gives front_camera_optical, the contract says camera"),
        (FRONT, "feature", "observation.images.top", "cameras front and wrist, the contract says"),
        (DEPTH, "encoding", "16UC1", "gives 32FC1, the contract says 16UC1"),
        (DEPTH, "rate_hz", 15.0, "depth.front.rate_hz: the simulator gives 30"),
        (IMU, "rate_hz", 200.0, "imu.rate_hz: the simulator gives 100.0, the contract says 200.0"),
        (IMU, "frame", "tcp", "imu.frame: the simulator gives imu_link, the contract says tcp"),
        (STATE, "rate_hz", 50.0, "state.rate_hz: the simulator gives 100.0, the contract says"),
    ],
)
def test_a_sensor_that_the_table_does_not_have_is_refused_by_name(
    feature: str, key: str, value: object, message: str
) -> None:
    with pytest.raises(ContractError) as caught:
        check_contract(changed(feature, **{key: value}))
    assert message in str(caught.value)
    assert "Use the contract tabletop_sim" in str(caught.value)


def test_joints_in_another_order_are_refused() -> None:
    contract = load_contract("tabletop_sim")
    action = replace(contract.action, joint_specs=contract.action.joint_specs[::-1])
    with pytest.raises(ContractError, match=r"gives shoulder_pan, .*says gripper, wrist_roll"):
        check_contract(replace(contract, action=action))


def test_optional_sensors_topics_and_limits_are_the_contracts_own() -> None:
    contract = load_contract("tabletop_sim")
    check_contract(contract)
    kept = tuple(spec for spec in contract.observations if spec.feature not in (IMU, DEPTH))
    check_contract(replace(contract, observations=kept))
    check_contract(changed(FRONT, topic="/elsewhere", max_age_s=0.5, required=False))
