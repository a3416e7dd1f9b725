"""Checks that compare episodes: on what is kept of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.data.quality.checker import compare_episodes
from vla_ros.data.quality.finding import Finding, Severity
from vla_ros.data.quality.inspection import Inspection
from vla_ros.data.quality.language import Language
from vla_ros.data.quality.motion import Lag
from vla_ros.data.quality.score import score_of
from vla_ros.data.quality.summary import PATH_POINTS, Summary
from vla_ros.data.quality.text_checks import one_slip_apart
from vla_ros.data.quality.thresholds import Thresholds

TASKS = ("lift the red cube", "push the blue ball left", "touch the green cylinder")


def make_episodes(count: int = 15) -> list[Summary]:
    """Return episodes that differ as good ones do."""
    rng = np.random.default_rng(3)
    episodes = []
    for index in range(count):
        way = rng.normal(0.0, 0.5, (1, 6)) * np.linspace(0.0, 1.0, PATH_POINTS)[:, None]
        path = rng.normal(0.0, 0.05, (1, 6)) + way
        episodes.append(
            Summary(
                name=f"episode_{index:06d}",
                instruction=TASKS[index % 3],
                outcome="success",
                contract_sha256="aaaaaaaa",
                contract_name="arm",
                duration_s=float(rng.uniform(2.0, 5.0)),
                path=path,
                path_rad=float(np.abs(np.diff(path, axis=0)).sum()),
                first_pictures={"/camera": rng.uniform(0.0, 255.0, (24, 24))},
                lag=Lag(0.05 + float(rng.normal(0.0, 0.005)), 0.9),
                joints=tuple("abcdef"),
                messages={"/camera": 100},
            )
        )
    return episodes


def check(episodes: list[Summary], language: Language | None = None) -> list[Finding]:
    inspections = [Inspection(folder=Path(item.name), summary=item) for item in episodes]
    return compare_episodes(inspections, Thresholds(), language).everything


def only(episodes: list[Summary], language: Language | None = None) -> Finding:
    found = check(episodes, language)
    assert len(found) == 1, [item.text for item in found]
    return found[0]


def test_episodes_that_differ_as_good_ones_do_have_no_findings() -> None:
    assert check(make_episodes()) == []


def test_an_episode_that_is_there_twice_is_found_whatever_its_stamps_and_name() -> None:
    episodes = make_episodes()
    copy = replace(episodes[4], name="episode_000099", start_ns=77)
    assert copy.path is not None
    noisy = replace(copy, path=copy.path + np.random.default_rng(0).normal(0.0, 2e-4, (64, 6)))
    item = only([*episodes, noisy])
    assert (item.check, item.episode) == ("duplicate", "episode_000099")
    assert "episode_000004" in item.got


def test_the_same_motion_before_another_scene_is_no_duplicate() -> None:
    episodes = make_episodes()
    other = {"/camera": 255.0 - episodes[4].first_pictures["/camera"]}
    assert check([*episodes, replace(episodes[4], name="x", first_pictures=other)]) == []


def test_a_lag_unlike_the_others_is_found_below_what_is_too_long() -> None:
    episodes = make_episodes()
    episodes[2] = replace(episodes[2], lag=Lag(0.16, 0.9))
    item = only(episodes)
    assert (item.check, item.episode, item.got) == ("lag", "episode_000002", "160 ms")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"duration_s": 40.0}, "a length about"), ({"path_rad": 60.0}, "a path of the joints")],
)
def test_an_episode_far_from_the_others_is_an_outlier(
    change: dict[str, float], words: str
) -> None:
    episodes = make_episodes()
    episodes[7] = replace(episodes[7], **change)  # type: ignore[arg-type]
    item = only(episodes)
    assert (item.check, item.episode) == ("outlier", "episode_000007")
    assert words in item.expected


def test_a_start_far_from_the_others_names_the_joint() -> None:
    episodes = make_episodes()
    path = episodes[1].path
    assert path is not None
    moved = path.copy()
    moved[:, 2] += 1.5
    episodes[1] = replace(episodes[1], path=moved)
    assert only(episodes).expected.startswith("a start with c about")


def test_few_episodes_make_no_outliers() -> None:
    episodes = make_episodes(5)
    episodes[0] = replace(episodes[0], duration_s=400.0)
    assert check(episodes) == []


def test_one_instruction_in_most_episodes_is_unbalanced_unless_it_is_the_only_one() -> None:
    same = [replace(item, instruction="lift the red cube") for item in make_episodes()]
    assert check(same) == []
    item = only([replace(same[0], instruction="push it"), *same[1:]])
    assert (item.check, item.got) == (
        "balance",
        "'lift the red cube' in 14 of 15; 1 others in the rest",
    )


def test_classes_are_balanced_by_what_instructions_are_about() -> None:
    def colour(text: str) -> dict[str, set[str]]:
        return {"colour": {"red" if "blue" not in text else "blue"}}

    item = only(make_episodes(), Language(classify=colour))
    assert item.expected == "no colour in more than 60% of the episodes"


def test_mostly_failures_are_unbalanced() -> None:
    episodes = [replace(item, outcome="failure") for item in make_episodes()]
    assert only(episodes).got == "15 of 15"


def test_a_typing_error_is_found_by_words_that_are_frequent_or_known() -> None:
    episodes = make_episodes()
    episodes[3] = replace(episodes[3], instruction="lift the red cubbe")
    item = only(episodes)
    assert (item.check, item.episode, item.expected) == ("typo", "episode_000003", "'cube'")
    episodes[3] = replace(episodes[3], instruction="lift the red spehre")
    assert check(episodes) == []  # of no word that anybody knows
    assert only(episodes, Language(known=frozenset({"sphere"}))).expected == "'sphere'"


def test_words_that_are_known_or_inflected_are_no_typing_errors() -> None:
    episodes = make_episodes()
    episodes[3] = replace(episodes[3], instruction="lift the red cubes")
    assert check(episodes) == []
    episodes[3] = replace(episodes[3], instruction="lift the red tube")
    assert only(episodes).check == "typo"
    assert check(episodes, Language(known=frozenset({"tube"}))) == []


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("cube", "cubbe", True), ("cube", "cbue", True), ("cube", "cub", True),
        ("cube", "tube", True), ("cube", "cuebs", False), ("red", "read", True),
        ("bowl", "plate", False),
    ],
)  # fmt: skip
def test_one_slip_is_a_letter_missing_added_wrong_or_swapped(
    one: str, other: str, near: bool
) -> None:
    assert one_slip_apart(one, other) is near
    assert one_slip_apart(other, one) is near


def test_a_foreign_contract_is_named_and_the_others_are_still_compared() -> None:
    episodes = make_episodes()
    episodes[5] = replace(episodes[5], contract_sha256="bbbbbbbb", contract_name="other_arm")
    item = only(episodes)
    assert (item.check, item.episode) == ("contract", "episode_000005")
    assert item.got == "other_arm (bbbbbbbb)"


def make_finding(check: str, severity: Severity, topic: str = "") -> Finding:
    return Finding(check=check, severity=severity, topic=topic, expected="", got="", remedy="")


def test_the_score_is_the_product_of_what_each_check_leaves() -> None:
    warning, error = Severity.WARNING, Severity.ERROR
    assert score_of([]) == 100
    assert score_of([make_finding("gap", warning)] * 5) == 80
    assert score_of([make_finding("gap", warning, "/a"), make_finding("gap", warning, "/b")]) == 64
    assert score_of([make_finding("limits", error)]) == 40
    assert score_of([make_finding("note", Severity.INFO)]) == 100
    assert score_of([make_finding("unreadable", error)]) == 0


def test_thresholds_come_from_a_file_and_from_settings(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text("idle_s: 5\nfrequent_word: 9\n")
    loaded = Thresholds.load(path, ["idle_s=7.5"])
    assert (loaded.idle_s, loaded.frequent_word) == (7.5, 9)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("idle", "expected NAME=NUMBER"),
        ("idel_s=3", "'idel_s' does not exist; there are"),
        ("idle_s=long", "idle_s: expected a number, got 'long'"),
        ("idle_s=-1", "idle_s: expected a number above 0, got -1.0"),
    ],
)
def test_a_threshold_that_is_none_is_refused(setting: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Thresholds.load(None, [setting])
