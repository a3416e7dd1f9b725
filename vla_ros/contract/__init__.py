"""The robot contract: one YAML file that says how topics become features and actions commands."""

from vla_ros.contract.difference import ContractDifference, differences, require_compatible
from vla_ros.contract.features import (
    ACTION,
    DEPTHS,
    IMAGES,
    IMU,
    STATE,
    TASK,
    FeatureKind,
    camera_of,
    feature_kind,
)
from vla_ros.contract.loading import find_contract, load_contract, shipped_contracts
from vla_ros.contract.specs import (
    ActionSpec,
    CommandSpec,
    JointSpec,
    ObservationSpec,
    RobotContract,
    RobotSpec,
)

__all__ = [
    "ACTION",
    "DEPTHS",
    "IMAGES",
    "IMU",
    "STATE",
    "TASK",
    "ActionSpec",
    "CommandSpec",
    "ContractDifference",
    "FeatureKind",
    "JointSpec",
    "ObservationSpec",
    "RobotContract",
    "RobotSpec",
    "camera_of",
    "differences",
    "feature_kind",
    "find_contract",
    "load_contract",
    "require_compatible",
    "shipped_contracts",
]
