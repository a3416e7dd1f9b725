"""Reasoning suites: steps, refusals, chance, the blindfold, and the table's numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vla_ros.core.types import ActionChunk, FloatArray, Observation
from vla_ros.evaluation.blindfold import Blindfold
from vla_ros.evaluation.episode import EpisodeResult, run_episode
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.reasoning import SuiteResult, auroc, calibration, refusal, summarize
from vla_ros.evaluation.report import Report
from vla_ros.learning.experts import Expert
from vla_ros.planner.steps import StepSplitter
from vla_ros.sim.environment import Environment
from vla_ros.sim.model import JOINTS
from vla_ros.sim.reasoning import REASONING_SUITES, sample_reasoning_scene
from vla_ros.sim.scenes import TEST_SEED, Scene


class Oracle:
    """A policy that knows the scene: the expert's chunk, and what it is told to say."""

    name, bundle_sha256 = "oracle", "0" * 64

    def __init__(self, environment: Environment, grounding: Callable[[], float]) -> None:
        self._environment, self._grounding = environment, grounding
        self.told: list[str] = []
        self.seen: list[Observation] = []

    def start(self, instruction: str) -> None:
        self.told.append(instruction)

    def infer(self, observation: Observation) -> ActionChunk:
        self.seen.append(observation)
        positions, progress = self._act()
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=0.05,
            joint_names=JOINTS,
            positions=positions,
            progress=progress,
            grounding=self._grounding(),
        )

    def _act(self) -> tuple[FloatArray, float]:
        return Expert().chunk(self._environment.table)


@pytest.fixture
def environment() -> Environment:
    return Environment(cameras=())


def absent_scene() -> Scene:
    return next(
        scene
        for scene in (sample_reasoning_scene(seed=s, suite="absent") for s in range(20))
        if scene.absent
    )


def test_refusing_what_is_absent_is_success_and_ends_the_episode(environment: Environment) -> None:
    policy = Oracle(environment, lambda: 0.1)
    result = run_episode(environment, policy, absent_scene())
    assert result.success
    assert result.refused
    assert result.duration_s < 1.5


def test_not_refusing_what_is_absent_is_failure(environment: Environment) -> None:
    policy = Oracle(environment, lambda: 0.9)
    result = run_episode(environment, policy, absent_scene(), limit_s=1.0)
    assert not result.success
    assert not result.refused


def test_refusing_what_is_there_is_failure(environment: Environment) -> None:
    scene = sample_reasoning_scene(seed=0, suite="spatial", skill="reach")
    result = run_episode(environment, Oracle(environment, lambda: 0.1), scene)
    assert not result.success
    assert result.reason.startswith("refused: what it names is there with a chance of 10%")


def test_a_policy_is_told_one_step_after_the_other(environment: Environment) -> None:
    scene = next(
        scene
        for scene in (sample_reasoning_scene(seed=s, suite="steps") for s in range(50))
        if scene.skill == "reach" and scene.then[0].skill == "reach"
    )
    policy = Oracle(environment, lambda: 1.0)
    result = run_episode(environment, policy, scene, limit_s=6.0)
    assert tuple(policy.told) == StepSplitter().split(scene.text)
    assert len(policy.told) == 2
    # the expert knows the first goal alone, and the second one is judged too
    assert not result.success
    assert environment.table.judge.goals_done == 1


def test_a_blindfolded_policy_sees_one_other_table_and_its_own_joints() -> None:
    environment = Environment()
    inner = Oracle(environment, lambda: 1.0)
    policy = Blindfold(inner, TEST_SEED)
    step = environment.reset(sample_reasoning_scene(seed=TEST_SEED, suite="spatial"))
    policy.start("x")
    policy.infer(step.observation)
    policy.infer(environment.step(None).observation)
    environment.close()
    first, second = inner.seen
    for camera, image in first.images.items():
        assert not np.array_equal(image, step.observation.images[camera])
        assert np.array_equal(image, second.images[camera])
    assert np.array_equal(first.state, step.observation.state)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [([0.9, 0.8], [0.1, 0.2], 1.0), ([0.1], [0.9], 0.0), ([0.5, 0.9], [0.5], 0.75)],
)
def test_auroc_is_the_chance_to_rank_rightly(
    positive: list[float], negative: list[float], expected: float
) -> None:
    assert auroc(positive, negative) == expected


def episode(index: int, **fields: object) -> EpisodeResult:
    usual = {
        "index": index,
        "seed": TEST_SEED + index,
        "skill": "lift",
        "instruction": "x",
        "success": True,
        "moved_another": False,
        "reason": "",
        "duration_s": 1.0,
        "said_done": True,
        "commands": 10,
        "violations": 0,
        "rejected_chunks": 0,
        "chance": 0.25,
        "noun_chance": 0.4,
    }
    return EpisodeResult(**(usual | fields))  # type: ignore[arg-type]


def report(suite: str, *results: EpisodeResult) -> Report:
    plan = EvaluationPlan(suite=suite, episodes=len(results))
    return Report(plan=plan, bundle="b", bundle_sha256="0", results=results)


def test_a_suite_stands_beside_chance_and_words_alone() -> None:
    seen = report("spatial", episode(0), episode(1, success=False))
    blind = report("spatial", episode(0, success=False), episode(1, success=False))
    found = summarize({"spatial": SuiteResult(seen=seen, blind=blind)})
    assert found["mean"] == 0.5
    assert found["times_chance"] == {"spatial": 2.0}
    assert found["above_text_only"] == {"spatial": 0.5}
    assert found["above_noun_chance"] == {"spatial": pytest.approx(0.1)}
    assert found["commands"] == 20
    assert [failure["seed"] for failure in found["failures"]] == [TEST_SEED + 1]


def test_refusals_are_counted_apart_for_absent_and_present() -> None:
    rates = refusal(
        [
            episode(0, absent=True, refused=True, grounding=0.1),
            episode(1, absent=True, refused=False, grounding=0.7),
            episode(2, refused=False, grounding=0.9),
            episode(3, refused=True, grounding=0.4),
        ]
    )
    assert rates == {
        "absent_refused": 0.5,
        "present_refused": 0.5,
        "auroc": 0.75,
        "brier": pytest.approx((0.01 + 0.49 + 0.01 + 0.36) / 4),
        "calibration_error": pytest.approx((0.1 + 0.7 + 0.1 + 0.6) / 4),
    }


def test_chances_that_come_true_as_often_as_they_say_are_calibrated() -> None:
    chances = [0.25] * 4 + [1.0] * 3
    outcomes = [True, False, False, False, True, True, True]
    assert calibration(chances, outcomes)["calibration_error"] == pytest.approx(0.0)
    turned = [not outcome for outcome in outcomes]
    assert calibration(chances, turned)["calibration_error"] == pytest.approx((4 * 0.5 + 3) / 7)


@pytest.mark.parametrize("suite", REASONING_SUITES)
def test_plans_of_reasoning_suites_repeat(suite: str) -> None:
    plan = EvaluationPlan(suite=suite, episodes=8)
    assert plan.instructions() == EvaluationPlan(suite=suite, episodes=8).instructions()
    assert len({plan.scene(index).skill for index in range(8)}) >= 2
