"""What `BundlePolicy` offers beside `Policy`, by itself and fitted to another robot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.demonstration import Demonstration
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.fitted_policy import FittedPolicy
from vla_ros.testing.observations import make_observation
from vla_ros.testing.optional_conformance import (
    AttentiveConformance,
    NoticingConformance,
    PromptableConformance,
)

CONTRACT = load_contract("tabletop_sim")


class TestBundlePolicy(AttentiveConformance, NoticingConformance, PromptableConformance):
    @pytest.fixture(autouse=True)
    def _take(self, untrained_bundle: Path) -> None:
        self.bundle = untrained_bundle

    def make_policy(self) -> Any:
        return BundlePolicy(self.bundle)

    def make_contract(self) -> RobotContract:
        return CONTRACT

    def make_demonstrations(self) -> Sequence[Demonstration]:
        policy = BundlePolicy(self.bundle)
        found = []
        for seed in (1, 2):
            seen = make_observation(CONTRACT, seed=seed)
            policy.start("look")
            policy.infer(seen)
            assert policy.grounding is not None
            x, y, z = map(
                float, policy.grounding.regions[policy.grounding.regions[:, 3] > 0][0, :3]
            )
            found.append(Demonstration(observation=seen, xyz=(x, y, z)))
        return found


class TestFittedPolicy(TestBundlePolicy):
    def make_policy(self) -> Any:
        sizes = {
            name: image.shape[1::-1] for name, image in make_observation(CONTRACT).images.items()
        }
        return FittedPolicy(BundlePolicy(self.bundle), sizes)
