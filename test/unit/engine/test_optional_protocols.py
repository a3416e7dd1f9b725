"""What `BundlePolicy` offers beside `Policy`, by itself and fitted to another robot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.demonstration import Demonstration
from vla_ros.engine.adaptive import AdaptivePolicy
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.choice import EngineChoice
from vla_ros.engine.fitted_policy import FittedPolicy
from vla_ros.testing.observations import make_observation
from vla_ros.testing.optional_conformance import (
    AttentiveConformance,
    ClosableConformance,
    NoticingConformance,
    PromptableConformance,
    ReportingConformance,
)

CONTRACT = load_contract("tabletop_sim")


class TestBundlePolicy(
    AttentiveConformance,
    NoticingConformance,
    PromptableConformance,
    ReportingConformance,
    ClosableConformance,
):
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


class TestAdaptivePolicy(ReportingConformance, ClosableConformance):
    @pytest.fixture(autouse=True)
    def _take(self, untrained_bundle: Path) -> None:
        self.bundle = untrained_bundle

    def make_policy(self) -> Any:
        return AdaptivePolicy(BundlePolicy(self.bundle))

    def make_contract(self) -> RobotContract:
        return CONTRACT


def test_what_a_policy_says_of_its_engines_can_be_read(untrained_bundle: Path) -> None:
    acting, grounding = BundlePolicy(untrained_bundle).report_engines()
    assert (acting.graph, grounding.graph) == ("policy.onnx", "grounding.onnx")
    assert acting.runs == f"onnxruntime {onnxruntime.__version__}, fp32 on CPU"


def test_a_policy_that_was_opened_on_a_fallback_says_why(untrained_bundle: Path) -> None:
    choice = EngineChoice.parse("onnxruntime:cuda", fallback="onnxruntime")
    for report in AdaptivePolicy(BundlePolicy(untrained_bundle, choice=choice)).report_engines():
        assert report.runs.startswith("onnxruntime 1.")
        assert report.fallback.startswith("onnxruntime:cuda: the installed ONNX Runtime")
