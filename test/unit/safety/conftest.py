"""The simulated arm's contract, and a rig at its home pose."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.types import FloatArray
from vla_ros.testing.gate_rig import GateRig


@pytest.fixture(scope="session")
def contract() -> RobotContract:
    return load_contract("tabletop_sim")


@pytest.fixture(scope="session")
def home(contract: RobotContract) -> FloatArray:
    return np.array(contract.home)


@pytest.fixture
def arm(contract: RobotContract) -> GateRig:
    """An arm at home, at rest, whose gate knows it."""
    rig = GateRig(contract)
    rig.tick()
    return rig
