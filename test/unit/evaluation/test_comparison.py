"""Results are put side by side only where they are of the same episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vla_ros.cli.compare import compare
from vla_ros.core.errors import UserError
from vla_ros.evaluation.comparison import Comparison, Run, Scenes, Score
from vla_ros.evaluation.comparison_files import read_comparison
from vla_ros.evaluation.comparison_plot import plot_comparison
from vla_ros.evaluation.comparison_table import UNKNOWN, tabulate
from vla_ros.evaluation.pooling import pool_fusions
from vla_ros.evaluation.report import wilson_interval
from vla_ros.sim.scenes import TEST_SEED


def result(success: float = 0.9, **changes: Any) -> dict[str, Any]:
    """What `vla_ros eval --json` writes, as far as it is read here."""
    episodes = changes.get("episodes", 200)
    first = changes.pop("first", 0)
    return {
        "success": success,
        "success_low": success - 0.05,
        "success_high": success + 0.03,
        "episodes": episodes,
        "suite": "core",
        "split": "seeds",
        "phrasings": None,
        "ablate": None,
        "without": [],
        "seeds": [TEST_SEED + first, TEST_SEED + first + episodes - 1],
        "bundle": "small",
        "bundle_sha256": "a" * 64,
        **changes,
    }


def reasoning(**suites: float) -> dict[str, Any]:
    rows = {name: {"success": rate, "episodes": 60} for name, rate in suites.items()}
    return {
        "mean": sum(suites.values()) / len(suites),
        "suites": rows,
        "split": "seeds",
        "episodes": 60,
        "bundle": "small",
        "bundle_sha256": "a" * 64,
    }


def folder(path: Path, **files: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content))
    return path


def only(comparison: Comparison) -> Run:
    assert len(comparison.runs) == 1
    return comparison.runs[0]


def test_all_results_of_a_bundle_in_a_folder_are_one_run(tmp_path: Path) -> None:
    results = folder(
        tmp_path / "mine",
        core=result(0.9),
        words=result(0.8, split="phrasing"),
        other=result(0.1, ablate="instruction"),
        blind=result(0.7, without=["depth", "imu"]),
        blurred=result(0.6, disturb=["motion_blur"]),
        mine=result(0.75, phrasings="/home/me/my_words.yaml"),
        ros=result(0.85, direct_success=0.9),
        reasoning=reasoning(spatial=0.5, counting=0.25),
        transport={"delivered": 1.0},
    )
    comparison = read_comparison([results])
    run = only(comparison)
    assert run.name == "mine"
    assert {name: score.success for name, score in run.suites.items()} == {
        "core": 0.9,
        "phrasing": 0.8,
        "ablate instruction": 0.1,
        "without depth, without imu": 0.7,
        "motion_blur": 0.6,
        "words of my_words": 0.75,
        "through ROS": 0.85,
        "spatial": 0.5,
        "counting": 0.25,
    }
    assert comparison.suites[0] == "core"
    assert run.overall == run.suites["core"]
    assert comparison.skipped == (results / "transport.json",)


def test_an_interval_that_a_result_lacks_follows_from_its_episodes(tmp_path: Path) -> None:
    run = only(read_comparison([folder(tmp_path / "x", r=reasoning(spatial=0.5))]))
    low, high = wilson_interval(30, 60)
    assert run.suites["spatial"] == Score(
        success=0.5, low=low, high=high, scenes=Scenes(episodes=60)
    )


def test_without_the_core_suite_the_mean_counts_and_has_no_interval(tmp_path: Path) -> None:
    run = only(read_comparison([folder(tmp_path / "x", r=reasoning(spatial=0.5, counting=0.3))]))
    assert run.overall is not None
    assert run.overall.success == pytest.approx(0.4)
    assert run.overall.low is None


def test_another_bundle_in_the_folder_is_another_run(tmp_path: Path) -> None:
    other = result(0.5, bundle_sha256="b" * 64)
    runs = read_comparison([folder(tmp_path / "x", one=result(0.9), two=other)]).runs
    assert [run.name for run in runs] == ["x/small aaaaaaaa", "x/small bbbbbbbb"]


def test_results_of_other_scenes_have_a_row_of_their_own_that_is_marked(tmp_path: Path) -> None:
    mine = folder(
        tmp_path / "mine", core=result(0.9), more=result(0.8, episodes=1000, first=7_000_000)
    )
    yours = folder(tmp_path / "yours", core=result(0.95))
    comparison = read_comparison([mine, yours])
    names = [run.name for run in comparison.runs]
    assert names == ["mine", f"mine, 1000 episodes from seed {TEST_SEED + 7_000_000}", "yours"]
    table = tabulate(comparison)[0]
    at = table.header.index("core")
    assert [row[at] for row in table.rows] == ["90.0", "80.0*", "95.0"]
    (note,) = table.notes
    assert note == (
        f"* {names[1]}, core: 1000 episodes from seed {TEST_SEED + 7_000_000}; elsewhere "
        f"200 episodes from seed {TEST_SEED}"
    )


def test_the_same_episodes_twice_are_refused_with_both_files(tmp_path: Path) -> None:
    twice = folder(tmp_path / "x", core=result(0.9), again=result(0.91))
    with pytest.raises(UserError, match=r"again.json and .*core.json: are both results of 'core'"):
        read_comparison([twice])


def test_runs_of_the_same_name_are_numbered(tmp_path: Path) -> None:
    paths = [folder(tmp_path / top / "eval", core=result()) for top in "ab"]
    assert [run.name for run in read_comparison(paths).runs] == ["eval (1)", "eval (2)"]


@pytest.mark.parametrize("as_rows", [True, False])
def test_rows_of_the_fusion_bench_are_runs(tmp_path: Path, as_rows: bool) -> None:
    row = {
        "fusion": "late",
        "seed": 1,
        "success": 0.8,
        "episodes": 100,
        "suites": {"spatial": 0.5, "counting": 0.2},
        "suite_episodes": 60,
        "latency_ms": 3.25,
        "parameters": 1_712_345,
        "robustness": {"no_depth": {"success": 0.7, "points_lost": 10.0}},
    }
    other = {"fusion": "early", "seed": 0, "success": 0.9, "suites": {}}
    path = tmp_path / "fusion.json"
    path.write_text(json.dumps({"rows": [row, other]} if as_rows else [row, other]))
    late, early = read_comparison([path]).runs
    assert (late.name, late.fusion, late.parameters) == ("late seed 1", "late", 1_712_345)
    assert late.overall is not None
    assert (late.overall.low, late.overall.high) == wilson_interval(80, 100)
    assert late.suites["counting"].scenes == Scenes(episodes=60)
    assert late.points_lost == {"no_depth": 10.0}
    assert early.overall == Score(success=0.9)
    success, lost = tabulate(read_comparison([path]))
    assert success.header == (
        *("run", "fusion", "parameters", "success (95 %)", "core", "spatial", "counting"),
        "latency",
    )
    assert success.rows[0] == (
        *("late seed 1", "late", "1.71 M", "80.0 (71.1 to 86.7)", "80.0", "50.0", "20.0"),
        "3.2 ms",
    )
    assert success.rows[1][2:] == (UNKNOWN, "90.0", "90.0*", UNKNOWN, UNKNOWN, UNKNOWN)
    assert (lost.header, lost.rows[0]) == (("run", "no_depth"), ("late seed 1", "10.0"))


def test_a_folder_without_results_says_what_it_holds(tmp_path: Path) -> None:
    empty = folder(tmp_path / "empty")
    with pytest.raises(UserError, match=r"empty: holds no results of an evaluation, nor any JSON"):
        read_comparison([empty])
    (empty / "core.json.episodes").write_text("")
    folder(empty, bundle={"name": "x"}, rows=[], nan={"bundle_sha256": "a", "success": None})
    with pytest.raises(UserError) as caught:
        read_comparison([empty])
    assert "bundle.json, nan.json, rows.json, core.json.episodes (unfinished)" in str(caught.value)
    assert f"--json {empty}/core.json" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "x.json: cannot be read as results"),
        ("{}", "x.json: holds no results of an evaluation: expected `success`, `suites` or"),
        ('{"bundle_sha256": "a", "success": NaN}', "holds no results of an evaluation"),
        ('{"bundle_sha256": "a", "suites": {"spatial": {}}}', "holds no results of an evaluation"),
        ('[{"success": 0.5}, {"success": 80}]', "holds no results of an evaluation"),
    ],
)
def test_a_file_that_is_no_result_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_comparison([file])
    assert said in str(caught.value)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone: cannot be read as results: .*No such file"):
        read_comparison([tmp_path / "gone"])


def test_the_command_prints_writes_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = folder(tmp_path / "fast", core=result(0.9, fusion="late", latency_ms=2.0))
    slow = folder(tmp_path / "slow", core=result(0.95, episodes=100))
    picture, page = tmp_path / "deep" / "plot.png", tmp_path / "deep" / "table.md"
    compare(results=[fast, slow], plot=picture, markdown=page)
    printed = capsys.readouterr().out
    assert "90.0 (85.0 to 93.0)" in printed
    assert "* slow, core: 100 episodes" in printed
    lines = page.read_text().splitlines()
    assert lines[2] == "| run | fusion | parameters | success (95 %) | core | latency |"
    assert lines[4] == "| fast | late | – | 90.0 (85.0 to 93.0) | 90.0 | 2.0 ms |"
    assert any(line.startswith("* slow, core: 100 episodes") for line in lines)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_is_drawn_are_bars_with_intervals_and_points_over_latency(tmp_path: Path) -> None:
    comparison = read_comparison(
        [
            folder(tmp_path / "a", core=result(0.9, latency_ms=2.0), r=reasoning(spatial=0.5)),
            folder(tmp_path / "b", core=result(0.8)),
        ]
    )
    plot_comparison(comparison, tmp_path / "both.svg")
    text = (tmp_path / "both.svg").read_text()
    for shown in ("spatial", "latency [ms]", "success [%]"):
        assert f"<!-- {shown}" in text
    with pytest.raises(UserError, match=r"x.txt: expected a file that ends in .png, .svg, .pdf"):
        plot_comparison(comparison, tmp_path / "x.txt")


def test_runs_of_the_same_fusion_are_pooled_over_their_episodes() -> None:
    def run(fusion: str, seed: int, success: float, latency_ms: float) -> Run:
        score = Score(success=success, scenes=Scenes(episodes=100))
        return Run(
            name=f"{fusion} seed {seed}",
            fusion=fusion,
            latency_ms=latency_ms,
            overall=score,
            suites={"core": score},
            points_lost={"no_depth": 100 * (1 - success)},
        )

    runs = (run("early", 0, 0.8, 4.0), run("late", 0, 0.5, 8.0), run("early", 1, 0.9, 6.0))
    early, late = pool_fusions(Comparison(runs=runs)).runs
    assert (early.name, late.name) == ("early, 2 runs", "late")
    pooled = early.suites["core"]
    assert pooled.success == 0.85
    assert (pooled.low, pooled.high) == wilson_interval(170, 200)
    assert pooled.scenes == Scenes(episodes=200)
    assert early.latency_ms == 5.0
    assert early.points_lost == {"no_depth": pytest.approx(15.0)}


def test_runs_that_do_not_say_their_fusion_are_not_pooled() -> None:
    with pytest.raises(UserError, match="mine: does not say which fusion it is of"):
        pool_fusions(Comparison(runs=(Run(name="mine"),)))
