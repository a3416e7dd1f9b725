"""Whole evaluations with a bundle, and the command around them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vla_ros.cli.app import main
from vla_ros.core.errors import BundleError, EngineError, UserError
from vla_ros.evaluation.episode import EpisodeResult
from vla_ros.evaluation.episode_log import EpisodeLog
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.suite import evaluate
from vla_ros.policy.bundle import GRAPH, Bundle
from vla_ros.sim.scenes import TEST_SEED


def test_results_do_not_depend_on_the_number_of_processes(untrained_bundle: Path) -> None:
    plan = EvaluationPlan(episodes=3, limit_s=0.6)
    heard: list[EpisodeResult] = []
    alone = evaluate(untrained_bundle, plan, workers=1, on_episode=heard.append)
    spread = evaluate(untrained_bundle, plan, workers=2)
    assert alone == spread
    assert tuple(heard) == alone.results
    assert [result.index for result in alone.results] == [0, 1, 2]
    assert alone.bundle_sha256 == Bundle.open(untrained_bundle).sha256
    assert alone.to_dict()["violations"] == 0


def test_an_untrained_policy_succeeds_at_nothing_that_needs_skill(untrained_bundle: Path) -> None:
    report = evaluate(untrained_bundle, EvaluationPlan(episodes=5, limit_s=2.0), workers=1)
    assert report.per_skill()["lift"] == 0.0
    assert report.per_skill()["stack"] == 0.0
    assert report.success < 0.5


def test_shuffled_instructions_reach_the_policy(untrained_bundle: Path) -> None:
    plan = EvaluationPlan(episodes=3, limit_s=0.1, ablate="instruction")
    report = evaluate(untrained_bundle, plan, workers=1)
    told = tuple(result.instruction for result in report.results)
    own = tuple(plan.scene(index).text for index in range(3))
    assert told == plan.instructions()
    assert sorted(told) == sorted(own)
    assert all(one != two for one, two in zip(told, own, strict=True))


def test_an_evaluation_runs_on_the_engine_that_is_named(untrained_bundle: Path) -> None:
    plan = EvaluationPlan(episodes=2, limit_s=0.2, backend="openvino")
    report = evaluate(untrained_bundle, plan, workers=2)
    assert report.to_dict()["backend"] == "openvino"
    assert len(report.results) == 2
    with pytest.raises(EngineError, match="onnxruntime:cuda: "):
        evaluate(untrained_bundle, replace(plan, backend="onnxruntime:cuda"))


def test_workers_must_be_one_at_least(untrained_bundle: Path) -> None:
    with pytest.raises(UserError, match="workers is 0; expected 1 or more"):
        evaluate(untrained_bundle, EvaluationPlan(), workers=0)


def test_a_folder_that_is_no_bundle_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="name a bundle directory"):
        evaluate(tmp_path, EvaluationPlan())


def run_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def test_the_command_writes_json_and_names_every_must_that_falls_short(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / "core.json"
    status = run_command(
        "eval", "--policy", untrained_bundle, "--episodes", 1, "--seed", 7, "--workers", 1,
        "--json", path, "--check",
    )  # fmt: skip
    assert status == 1
    found = json.loads(path.read_text())
    assert found["seeds"] == [TEST_SEED + 7, TEST_SEED + 7]
    assert {"success", "episodes", "per_skill", "violations", "bundle_sha256"} <= set(found)
    shown = capsys.readouterr().out
    assert "SHORT  episodes: must be at least 200, is 1" in shown
    assert "ok     violations: must be at most 0, is 0" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "train"), "split 'train' does not exist"),
        (("--episodes", "0"), "episodes is 0"),
        (("--seed", "-3"), "--seed is -3"),
        (("--policy", "nowhere"), "bundle.json: is missing"),
        (("--phrasings", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("--through-ros", "--split", "phrasing"), "--through-ros plays the core suite"),
    ],
)
def test_the_command_says_in_one_line_what_to_mend(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("eval", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_corrupted_bundle_is_refused_with_the_file_named(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in untrained_bundle.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / GRAPH).write_bytes((copy / GRAPH).read_bytes() + b"x")
    assert run_command("eval", "--policy", copy) == 2
    assert f"{GRAPH}: is corrupted" in capsys.readouterr().err


def test_a_stopped_evaluation_goes_on_where_it_was(untrained_bundle: Path, tmp_path: Path) -> None:
    plan, log = EvaluationPlan(episodes=4, limit_s=0.3), tmp_path / "out" / "core.json.episodes"
    whole = evaluate(untrained_bundle, plan, workers=1)

    def stop_after_two(result: EpisodeResult) -> None:
        if result.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(untrained_bundle, plan, workers=1, on_episode=stop_after_two, log=log)
    cut = log.read_text(encoding="utf-8")
    log.write_text(cut + cut.splitlines()[-1][:20], encoding="utf-8")  # stopped while writing
    kept = EpisodeLog(log, plan, whole.bundle_sha256, "direct").results
    assert kept == {0: whole.results[0], 1: whole.results[1]}
    heard: list[EpisodeResult] = []
    assert evaluate(untrained_bundle, plan, workers=1, on_episode=heard.append, log=log) == whole
    assert [result.index for result in heard] == [0, 1, 2, 3]
    assert not log.exists()


def test_episodes_of_another_evaluation_do_not_count(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    plan, log = EvaluationPlan(episodes=2, limit_s=0.2), tmp_path / "episodes"
    result = evaluate(untrained_bundle, plan, workers=1).results[0]
    EpisodeLog(log, plan, "a bundle", "direct").add(result)
    for other in (
        EpisodeLog(log, plan, "another bundle", "direct"),
        EpisodeLog(log, plan, "a bundle", "through ROS"),
        EpisodeLog(log, EvaluationPlan(episodes=3, limit_s=0.2), "a bundle", "direct"),
        EpisodeLog(log, replace(plan, backend="openvino"), "a bundle", "direct"),
    ):
        assert other.results == {}
    assert EpisodeLog(log, plan, "a bundle", "direct").results == {0: result}
