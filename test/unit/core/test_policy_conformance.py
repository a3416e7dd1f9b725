"""The conformance suite itself: policies that come with vla_ros pass it, and the rig runs them."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import DefectError, InstructionRejected
from vla_ros.core.protocols import Policy
from vla_ros.safety import GateState
from vla_ros.testing.gate_rig import GateRig
from vla_ros.testing.observations import make_observation
from vla_ros.testing.policy_conformance import PolicyConformance
from vla_ros.testing.scripted_policy import ScriptedPolicy


def scripted(contract: RobotContract) -> ScriptedPolicy:
    home = np.array(contract.home)
    return ScriptedPolicy(contract, lambda t: home + 0.1 * np.sin(t), duration_s=1.0)


class TestScriptedPolicy(PolicyConformance):
    def make_policy(self) -> Policy:
        return scripted(self.make_contract())

    def make_contract(self) -> RobotContract:
        return load_contract("tabletop_sim")

    def test_it_refuses_what_no_policy_should_be_given(self) -> None:
        policy, observation = self.make_policy(), make_observation(self.make_contract())
        with pytest.raises(DefectError, match="before start"):
            policy.infer(observation)
        with pytest.raises(InstructionRejected, match="empty"):
            policy.start("  ")
        policy.start("wave")
        policy.infer(observation)
        with pytest.raises(DefectError, match="after"):
            policy.infer(make_observation(self.make_contract(), stamp_ns=1))


def test_a_policy_and_a_gate_run_a_task_to_its_end() -> None:
    contract = load_contract("tabletop_sim")
    policy, rig = scripted(contract), GateRig(contract)
    policy.start("wave")
    rig.tick()
    progress, ticks = 0.0, 0
    while progress < 1.0:
        if ticks % 5 == 0:
            chunk = policy.infer(
                make_observation(contract, stamp_ns=rig.now_ns, state=rig.position)
            )
            rig.accept(chunk)
            progress = chunk.progress
        command = rig.tick()
        ticks += 1
    assert command.state is GateState.EXECUTING
    assert 100 <= ticks <= 110
    assert rig.checker.violations == 0
