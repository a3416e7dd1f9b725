"""Clean and disturbed episodes side by side, and the table of what each disturbance costs."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from vla_ros.cli.app import main
from vla_ros.core.errors import UserError
from vla_ros.evaluation.disturbance import DISTURBANCES
from vla_ros.evaluation.episode import EpisodeResult
from vla_ros.evaluation.episode_log import EpisodeLog
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report
from vla_ros.evaluation.robustness import (
    Robustness,
    compare,
    measure_robustness,
    paired_difference,
)
from vla_ros.evaluation.suite import OnEpisode, evaluate

NAMES = ("noisy_joints", "no_imu")


def report(*successes: bool, violations: int = 0) -> Report:
    results = tuple(
        EpisodeResult(
            index=index, seed=index, skill="lift", instruction="", success=success,
            moved_another=False, reason="", duration_s=1.0, said_done=success, commands=100,
            violations=violations, rejected_chunks=0,
        )
        for index, success in enumerate(successes)
    )  # fmt: skip
    plan = EvaluationPlan(episodes=len(results))
    return Report(plan=plan, bundle="a", bundle_sha256="00", results=results)


def test_the_interval_of_a_paired_difference_is_the_published_one() -> None:
    """Newcombe 1998, Statistics in Medicine 17, 2635: the table with (36, 12, 2, 0) of 50."""
    before = [True] * 48 + [False] * 2
    after = [True] * 36 + [False] * 12 + [True] * 2
    found = paired_difference(before, after)
    assert found == pytest.approx((0.20, 0.0569, 0.3404), abs=1e-4)


def test_equal_outcomes_lose_nothing_and_more_trials_say_so_more_surely() -> None:
    for trials, width in ((20, 0.2), (200, 0.03)):
        lost, low, high = paired_difference([True] * trials, [True] * trials)
        assert lost == 0
        assert -width < low < 0 < high < width


def test_a_difference_needs_pairs() -> None:
    with pytest.raises(ValueError, match="expected as many trials, got 2 and 1"):
        paired_difference([True, False], [True])


def test_points_lost_are_counted_against_the_clean_episodes() -> None:
    found = compare(report(True, True, True, True), report(True, False, False, False))
    assert found["success"] == 0.25
    assert found["points_lost"] == 75.0
    assert found["points_lost_low"] < 75.0 < found["points_lost_high"]
    assert compare(report(False, True), report(True, True))["points_lost"] == -50.0


def test_violations_under_any_disturbance_count() -> None:
    disturbed = {"a": report(True, violations=1), "b": report(True, violations=2)}
    found = Robustness(clean=report(True), disturbed=disturbed).to_dict()
    assert found["violations"] == 3
    assert found["commands"] == 300
    assert set(found["robustness"]) == {"a", "b"}


def test_every_row_plays_the_same_episodes(untrained_bundle: Path) -> None:
    plan = EvaluationPlan(episodes=2, limit_s=0.2, disturb=NAMES)
    rows: list[str] = []

    def watch(name: str) -> OnEpisode:
        rows.append(name)
        return lambda _: None

    found = measure_robustness(untrained_bundle, plan, workers=1, watch=watch)
    assert rows == ["clean", *NAMES]
    assert found.clean.plan.disturb == ()
    assert {name: row.plan.disturb for name, row in found.disturbed.items()} == {
        name: (name,) for name in NAMES
    }
    for row in found.disturbed.values():
        assert [r.seed for r in row.results] == [r.seed for r in found.clean.results]
        assert [r.instruction for r in row.results] == list(plan.instructions())


def test_disturbed_results_do_not_depend_on_the_number_of_processes(
    untrained_bundle: Path,
) -> None:
    plan = EvaluationPlan(
        episodes=3, limit_s=0.4, disturb=("noisy_images", "moved_wrist", "late_joints")
    )
    alone, spread = (evaluate(untrained_bundle, plan, workers=count) for count in (1, 2))
    assert alone == spread
    assert alone.to_dict()["disturb"] == list(plan.disturb)


def test_a_stopped_measurement_goes_on_where_it_was(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    plan = EvaluationPlan(episodes=2, limit_s=0.2, disturb=NAMES)
    log = tmp_path / "robustness.json.episodes"
    whole = measure_robustness(untrained_bundle, plan, workers=1)

    def stop_in_the_second_row(name: str) -> OnEpisode:
        def on_episode(result: EpisodeResult) -> None:
            if name == NAMES[0] and result.index == 0:
                raise KeyboardInterrupt

        return on_episode

    with pytest.raises(KeyboardInterrupt):
        measure_robustness(
            untrained_bundle, plan, workers=1, log=log, watch=stop_in_the_second_row
        )
    sha256 = whole.clean.bundle_sha256
    for name, disturb, kept in (("clean", (), 2), (NAMES[0], NAMES[:1], 1)):
        file = log.with_name(f"{log.name}.{name}")
        row = replace(plan, disturb=disturb)
        assert len(EpisodeLog(file, row, sha256, "direct").results) == kept
        assert EpisodeLog(file, plan, sha256, "direct").results == {}  # another disturbance's
    assert measure_robustness(untrained_bundle, plan, workers=1, log=log) == whole
    assert list(tmp_path.iterdir()) == []


def test_a_disturbance_is_not_measured_twice(untrained_bundle: Path) -> None:
    with pytest.raises(UserError, match="--disturb names one twice: no_imu, no_imu"):
        measure_robustness(untrained_bundle, EvaluationPlan(disturb=("no_imu", "no_imu")))


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command's episodes end after a fraction of a second."""
    monkeypatch.setattr("vla_ros.cli.eval.EvaluationPlan", partial(EvaluationPlan, limit_s=0.3))


def run_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.mark.usefixtures("_short")
def test_the_suite_prints_one_table_and_writes_what_each_disturbance_costs(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / "robustness.json"
    status = run_command(
        "eval", "--suite", "robustness", "--policy", untrained_bundle, "--episodes", 1,
        "--workers", 1, "--disturb", "no_imu", "--disturb", "random_patch", "--json", path,
        "--check",
    )  # fmt: skip
    assert status == 1  # one episode is too few, and the other musts were not measured
    found = json.loads(path.read_text())
    assert found["suite"] == "robustness"
    assert list(found["robustness"]) == ["no_imu", "random_patch"]
    assert {"success", "points_lost"} <= set(found["robustness"]["no_imu"])
    shown = capsys.readouterr().out
    for word in ("disturbance", "points lost", "95 % interval", "clean", "no_imu"):
        assert word in shown
    assert "SHORT  episodes: must be at least 100, is 1" in shown
    assert "SHORT  robustness.no_depth.points_lost: must be at most 10.0, is missing" in shown
    assert [file.name for file in path.parent.iterdir()] == ["robustness.json"]


@pytest.mark.usefixtures("_short")
def test_one_disturbance_is_compared_with_the_same_episodes_without_it(
    untrained_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "late.json"
    status = run_command(
        "eval", "--policy", untrained_bundle, "--episodes", 1, "--workers", 1,
        "--disturb", "late_joints", "--disturb", "noisy_joints", "--json", path,
    )  # fmt: skip
    assert status == 0
    found = json.loads(path.read_text())
    assert found["disturb"] == ["late_joints", "noisy_joints"]
    row = found["robustness"]["late_joints+noisy_joints"]
    assert row["success"] == found["success"]
    assert row["points_lost"] == found["points_lost"]
    assert found["points_lost"] == 100 * (found["success_with_everything"] - found["success"])


def test_the_commands_help_says_what_every_disturbance_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run_command("eval", "--help") == 0
    shown = capsys.readouterr().out
    for name, disturbance in DISTURBANCES.items():
        assert f"{name}: {disturbance.effect}." in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--disturb", "fog"), "disturb 'fog' does not exist; choose no_depth or"),
        (("--suite", "robustness", "--through-ros"), "--suite robustness takes no --through-ros"),
        (("--through-ros", "--disturb", "no_imu"), "--ablate, --without, --disturb"),
        (("--disturb", "adversarial_patch", "--patch", "no.png"), "no.png: is no picture"),
    ],
)
def test_the_command_says_in_one_line_what_to_mend(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("eval", *arguments) == 2
    assert message in capsys.readouterr().err
