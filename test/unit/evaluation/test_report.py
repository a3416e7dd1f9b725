"""The numbers of a report."""

from __future__ import annotations

import json
import math

import pytest

from vla_ros.evaluation.episode import EpisodeResult
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report, wilson_interval
from vla_ros.sim.scenes import SKILLS, TEST_SEED


def result(index: int, success: bool, **changes: object) -> EpisodeResult:
    fields: dict[str, object] = {
        "index": index,
        "seed": TEST_SEED + index,
        "skill": SKILLS[index % 5],
        "instruction": f"sentence {index}",
        "success": success,
        "moved_another": False,
        "reason": "done" if success else "time is up",
        "duration_s": 2.0 + index,
        "said_done": success,
        "commands": 100,
        "violations": 0,
        "rejected_chunks": 0,
    }
    return EpisodeResult(**{**fields, **changes})  # type: ignore[arg-type]


def report(*results: EpisodeResult) -> Report:
    plan = EvaluationPlan(episodes=len(results))
    return Report(plan=plan, bundle="small", bundle_sha256="ab" * 32, results=results)


def test_rates_are_over_all_episodes_and_over_each_skills() -> None:
    found = report(*(result(index, index not in (1, 6, 7)) for index in range(10))).to_dict()
    assert found["success"] == pytest.approx(0.7)
    assert found["episodes"] == 10
    assert found["per_skill"] == {"reach": 1, "push": 0, "lift": 0.5, "place": 1, "stack": 1}
    assert list(found["per_skill"]) == list(SKILLS)
    assert found["seeds"] == [TEST_SEED, TEST_SEED + 9]
    assert found["bundle_sha256"] == "ab" * 32
    assert found["split"] == "seeds"


def test_failures_are_listed_with_seed_skill_words_and_reason() -> None:
    found = report(result(0, True), result(1, False)).to_dict()
    assert found["failures"] == [
        {
            "seed": TEST_SEED + 1,
            "skill": "push",
            "instruction": "sentence 1",
            "reason": "time is up",
        }
    ]


def test_counts_are_sums_and_durations_are_of_successes() -> None:
    found = report(
        result(0, True, violations=2),
        result(1, False, moved_another=True, rejected_chunks=3, said_done=True),
        result(2, True, said_done=False),
    ).to_dict()
    assert found["violations"] == 2
    assert found["commands"] == 300
    assert found["rejected_chunks"] == 3
    assert found["moved_another"] == pytest.approx(1 / 3)
    assert found["done_signal_agrees"] == pytest.approx(1 / 3)
    assert found["mean_duration_s"] == pytest.approx(3.0)


def test_a_report_is_json_even_without_a_success() -> None:
    found = report(result(0, False)).to_dict()
    assert found["mean_duration_s"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (0, 0, 0.0, 1.0)],
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    found = wilson_interval(successes, trials)
    assert found == pytest.approx((low, high), abs=1e-3)
    assert all(math.isfinite(value) for value in found)
