"""An explained episode, and the command that shows it, with a policy that has learnt nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vla_ros.cli.app import main
from vla_ros.core.errors import UserError
from vla_ros.engine.contributions import SOURCES
from vla_ros.evaluation.explanation import Explanation, explain_episode, other_sentences
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.sim.scenes import TEST_SEED

SCENE = EvaluationPlan().scene(2)


@pytest.fixture(scope="module")
def explanation(untrained_bundle: Path) -> Explanation:
    return explain_episode(untrained_bundle, SCENE, every=4, limit_s=0.3)


def test_what_decided_is_measured_every_so_many_chunks(explanation: Explanation) -> None:
    assert len(explanation.moments) == 6
    times = [moment.time_s for moment in explanation.explained]
    assert times == pytest.approx([0.0, 0.2])
    for moment in explanation.explained:
        assert moment.contributions is not None
        assert set(moment.contributions.change_rad) == set(SOURCES)
    assert sum(explanation.mean_shares().values()) == pytest.approx(1.0)


def test_every_moment_can_be_drawn_for_every_camera(explanation: Explanation) -> None:
    for moment in explanation.moments:
        assert {moment.draw(camera, 2).shape for camera in moment.attention} == {(288, 256, 3)}
    first, last = (explanation.moments[index].draw("wrist") for index in (0, -1))
    assert (first != last).any()


def test_its_plain_data_can_be_written_and_tells_what_was_looked_at(
    explanation: Explanation,
) -> None:
    data = json.loads(json.dumps(explanation.to_dict()))
    assert data["instruction"] == SCENE.text
    assert data["seed"] == TEST_SEED + 2
    assert len(data["moments"]) == 6
    seen = data["moments"][0]["attention"]["front"]["object"]
    assert 0.0 <= seen["in_view"] <= 1.0
    assert len(seen["cell"]) == 2
    (grounding,) = data["grounding"]
    assert 0.0 <= grounding["score"] <= 1.0
    for region in grounding["regions"]:
        assert 0.0 <= region["object"] <= 1.0


@pytest.mark.parametrize("index", range(10))
def test_something_else_can_be_said_in_every_scene(index: int) -> None:
    scene = EvaluationPlan().scene(index)
    said = other_sentences(scene)
    assert said
    assert scene.text not in said
    assert said == other_sentences(scene)


def test_what_makes_no_sense_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UserError, match=r"every is 0; expected 1"):
        explain_episode(Path("nowhere"), SCENE, every=0)
    with pytest.raises(UserError, match="choose leave_one_out or shapley"):
        explain_episode(Path("nowhere"), SCENE, method="guess")


def run_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["explain", *(str(argument) for argument in arguments)])
    return int(stopped.value.code or 0)


def test_the_command_writes_a_picture_a_film_and_data(
    untrained_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "shown"
    told = "lift the green ball"
    arguments = ["--policy", untrained_bundle, "--limit", 0.25, "--every", 3, "--output", output]
    assert run_command(*arguments, "--instruction", told) == 0
    said = capsys.readouterr().out
    assert f'told: "{told}"' in said
    assert "share of what decides" in said
    picture = np.asarray(Image.open(output / "explanation.png").convert("RGB"))
    assert picture.shape == (940, 1120, 3)
    assert picture.std() > 10
    assert (output / "attention.mp4").stat().st_size > 1000
    data = json.loads((output / "explanation.json").read_text())
    assert data["instruction"] == told
    assert "green ball" in data["things"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--method", "guess"], "--method 'guess' does not exist; choose leave_one_out or"),
        (["--suite", "nonsense"], "suite 'nonsense' does not exist; choose core or"),
        (["--instruction", "do it"], 'no object is named in "do it"'),
        (["--seed", "-1"], "--seed is -1; expected 0 or more"),
    ],
)
def test_the_command_says_what_it_cannot_do(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(*arguments) == 2
    assert error in capsys.readouterr().err
