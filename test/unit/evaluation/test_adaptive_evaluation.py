"""Evaluations of a policy that infers only when something has happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_ros.cli.app import main
from vla_ros.contract import load_contract
from vla_ros.engine.adaptive import AdaptivePolicy
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.evaluation.deprivation import DeprivedPolicy, adaptive_of, open_policy
from vla_ros.evaluation.episode import EpisodeResult
from vla_ros.evaluation.episode_log import EpisodeLog
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report
from vla_ros.evaluation.suite import evaluate
from vla_ros.testing.observations import make_observation

PLAN = EvaluationPlan(episodes=2, limit_s=0.4, adaptive=True)  # before it is refused


def test_an_adaptive_policy_sees_no_sensor_that_was_lost(untrained_bundle: Path) -> None:
    policy = open_policy(untrained_bundle, ("wrist",), adaptive=True)
    assert isinstance(policy, DeprivedPolicy)
    assert isinstance(policy.inner, AdaptivePolicy)
    assert adaptive_of(policy) is policy.inner
    whole = open_policy(untrained_bundle, adaptive=True)
    assert adaptive_of(whole) is whole
    assert adaptive_of(open_policy(untrained_bundle)) is None
    assert adaptive_of(open_policy(untrained_bundle, ("imu",))) is None


def test_a_bundle_tells_velocities_from_what_it_took_note_of(untrained_bundle: Path) -> None:
    contract = load_contract("tabletop_sim")
    home = np.array(contract.home)
    seen = [
        make_observation(contract, stamp_ns=(20 + step) * 50_000_000, state=home + 0.03 * step)
        for step in range(4)
    ]
    asked, told, neither = (BundlePolicy(untrained_bundle, contract) for _ in range(3))
    for policy in (asked, told, neither):
        policy.start("pick up the red cube")
        policy.infer(seen[0])
    for observation in seen[1:3]:
        asked.infer(observation)
        told.notice(observation)
    chunks = [policy.infer(seen[3]).positions for policy in (asked, told, neither)]
    np.testing.assert_allclose(chunks[1], chunks[0], atol=1e-6)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(chunks[2], chunks[0], atol=1e-6)


def test_inferences_are_counted_by_episode_in_whatever_process(untrained_bundle: Path) -> None:
    alone = evaluate(untrained_bundle, PLAN, workers=1)
    assert alone == evaluate(untrained_bundle, PLAN, workers=2)
    for result in alone.results:
        assert result.observations == 8, "one every 50 ms"
        assert 2 <= result.inferences <= 8
    always = evaluate(untrained_bundle, replace(PLAN, adaptive=False), workers=1)
    assert {result.observations for result in always.results} == {0}
    assert "inferences_saved" not in always.to_dict()


def test_a_report_says_which_share_was_saved() -> None:
    result = EpisodeResult(
        index=0,
        seed=1,
        skill="lift",
        instruction="lift it",
        success=True,
        moved_another=False,
        reason="done",
        duration_s=1.0,
        said_done=True,
        commands=10,
        violations=0,
        rejected_chunks=0,
        observations=30,
        inferences=12,
    )
    results = (result, replace(result, index=1, observations=10, inferences=8))
    report = Report(plan=PLAN, bundle="b", bundle_sha256="0" * 64, results=results)
    found = report.to_dict()
    assert (found["observations"], found["inferences"]) == (40, 20)
    assert found["inferences_saved"] == pytest.approx(0.5)
    always = replace(report, plan=replace(PLAN, adaptive=False)).to_dict()
    assert "inferences_saved" not in always


def test_episodes_played_with_every_inference_do_not_count_as_adaptive(tmp_path: Path) -> None:
    log = tmp_path / "episodes"
    plan = replace(PLAN, adaptive=False)
    result = EpisodeResult(
        index=0,
        seed=1,
        skill="lift",
        instruction="lift it",
        success=True,
        moved_another=False,
        reason="done",
        duration_s=1.0,
        said_done=True,
        commands=10,
        violations=0,
        rejected_chunks=0,
    )
    EpisodeLog(log, plan, "a bundle", "direct").add(result)
    assert EpisodeLog(log, plan, "a bundle", "direct").results == {0: result}
    assert EpisodeLog(log, PLAN, "a bundle", "direct").results == {}


def test_the_command_plays_both_ways_and_says_what_saving_costs(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "adaptive.json"
    given = ("--policy", untrained_bundle, "--episodes", 1, "--workers", 1, "--json", path)
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in ("eval", "--adaptive", *given)])
    assert stopped.value.code in (None, 0)
    found = json.loads(path.read_text())
    assert found["adaptive"] is True
    assert 0.0 <= found["inferences_saved"] < 1.0
    assert {"success_inferring_always", "points_lost", "points_lost_high"} <= set(found)
