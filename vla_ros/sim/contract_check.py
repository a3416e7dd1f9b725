"""Whether the simulated table can play the robot of a contract."""

from __future__ import annotations

from typing import NoReturn

from vla_ros.contract import FeatureKind, ObservationSpec, RobotContract
from vla_ros.core.errors import ContractError
from vla_ros.sim.model import CAMERAS, JOINTS
from vla_ros.sim.tabletop import CONTROL_STEP_S, camera_info

IMAGE_TYPE = "sensor_msgs/msg/Image"
ENCODINGS = {FeatureKind.IMAGE: "rgb8", FeatureKind.DEPTH: "32FC1"}
STEP_RATE_HZ = 1.0 / CONTROL_STEP_S
IMU_FRAME = "imu_link"


def check_contract(contract: RobotContract) -> None:
    """Refuse a contract that promises what the simulated table does not give.

    Raises:
        ContractError: naming the key, what the table has, and what the contract says.
    """
    if contract.action.joints != JOINTS:
        _fail(contract, "action.joints", ", ".join(JOINTS), ", ".join(contract.action.joints))
    frames_hz = next(spec.rate_hz for spec in contract.observations if spec.camera)
    for spec in contract.observations:
        if spec.camera:
            _check_camera(contract, spec, frames_hz)
        elif spec.rate_hz != STEP_RATE_HZ:
            _fail(contract, f"{spec.feature}.rate_hz", STEP_RATE_HZ, spec.rate_hz)
        elif spec.kind is FeatureKind.IMU and spec.frame != IMU_FRAME:
            _fail(contract, f"{spec.feature}.frame", IMU_FRAME, spec.frame)


def _check_camera(contract: RobotContract, spec: ObservationSpec, frames_hz: float) -> None:
    if spec.camera not in CAMERAS:
        _fail(contract, spec.feature, f"one of the cameras {' and '.join(CAMERAS)}", spec.camera)
    info = camera_info(spec.camera)
    for key, rendered in (
        ("type", IMAGE_TYPE),
        ("encoding", ENCODINGS[spec.kind]),
        ("width", info.width),
        ("height", info.height),
        ("frame", info.frame_id),
        ("rate_hz", frames_hz),  # one pass renders everything
    ):
        said = getattr(spec, key)
        if said != rendered:
            _fail(contract, f"{spec.feature}.{key}", rendered, said)


def _fail(contract: RobotContract, key: str, expected: object, said: object) -> NoReturn:
    raise ContractError(
        f"{contract.name}: {key}: the simulator gives {expected}, the contract says {said}."
        " Use the contract tabletop_sim, or make a copy of it yours."
    )
