"""Taking sensors away from a policy, to see what they are worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.core.types import ActionChunk, Observation
from vla_ros.evaluation.deprivation import LOSABLE, DeprivedPolicy, open_policy
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.suite import evaluate
from vla_ros.testing.observations import make_observation


class Witness:
    """A policy that keeps what it was shown."""

    name, bundle_sha256 = "witness", "00" * 32

    def start(self, instruction: str) -> None:
        pass

    def infer(self, observation: Observation) -> ActionChunk:
        self.seen = observation
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=0.05,
            joint_names=load_contract("tabletop_sim").action.joints,
            positions=np.tile(observation.state, (2, 1)).astype(np.float64),
        )


@pytest.mark.parametrize(
    ("lost", "images", "depths", "imu"),
    [
        (("depth",), {"front", "wrist"}, set(), True),
        (("imu",), {"front", "wrist"}, {"front", "wrist"}, False),
        (("wrist",), {"front"}, {"front"}, True),
        (("front", "imu"), {"wrist"}, {"wrist"}, False),
    ],
)
def test_what_was_taken_away_is_hidden_and_nothing_else(
    lost: tuple[str, ...], images: set[str], depths: set[str], imu: bool
) -> None:
    witness, observation = Witness(), make_observation(load_contract("tabletop_sim"))
    DeprivedPolicy(witness, lost).infer(observation)
    assert set(witness.seen.images) == images
    assert set(witness.seen.depths) == depths
    assert (witness.seen.imu is not None) == imu
    assert witness.seen.stamp_ns == observation.stamp_ns


@pytest.mark.parametrize("lost", LOSABLE)
def test_a_policy_acts_without_any_one_sensor_and_differently(
    untrained_bundle: Path, lost: str
) -> None:
    observation = make_observation(load_contract("tabletop_sim"))
    chunks = []
    for without in ((), (lost,)):
        policy = open_policy(untrained_bundle, without)
        policy.start("lift the red cube")
        chunks.append(policy.infer(observation).positions)
    assert np.isfinite(chunks[1]).all()
    assert not np.array_equal(chunks[0], chunks[1])


def test_a_report_says_what_was_taken_away(untrained_bundle: Path) -> None:
    plan = EvaluationPlan(episodes=1, limit_s=0.2, without=("imu", "depth"))
    assert evaluate(untrained_bundle, plan, workers=1).to_dict()["without"] == ["imu", "depth"]


def test_an_unknown_sensor_lists_those_there_are() -> None:
    with pytest.raises(UserError, match="without 'radar' does not exist; choose depth or imu or"):
        EvaluationPlan(without=("radar",))
