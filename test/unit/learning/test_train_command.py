"""`vla_ros train`: which of its options, settings and file decides, and who says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vla_ros.cli.app import main
from vla_ros.cli.train import _choices
from vla_ros.cli.training_progress import MENDABLE, train_in_group
from vla_ros.core.errors import UserError
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.run_config import RunConfig
from vla_ros.learning.training_config import TrainingConfig


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(["train", *arguments])
    assert exit_.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_an_option_is_over_a_setting_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "policy: {fusion: late, width: 64, layers: 1}\n"
        "training: {steps: 1, seed: 1, images: 1, data: [a, b]}\n"
    )
    given: dict[str, Any] = {
        "config": str(file),
        "assign": ["training.steps=2", "training.seed=2", "policy.head=flow"],
        "steps": 3,
        "data": [Path("c")],
        "fusion": "late",
    }
    chosen = _choices(given)
    assert chosen.policy == {"fusion": "late", "width": 64, "layers": 1, "head": "flow"}
    assert chosen.training == {
        "steps": 3,
        "seed": 2,
        "images": 1,
        "data": (Path("c"),),
        "processes": 1,
    }


def test_a_launcher_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert _choices({}).training["processes"] == 8
    assert _choices({"processes": 2}).training["processes"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "error: data: missing; give --data, or `data` in the `training` section"),
        (["--data=x"], "error: output: missing; give --output"),
        (["--config=nothing"], "error: nothing: there is no such file; --config takes a YAML"),
        (["--set=training.step=1"], "error: --set: training.step: unknown key"),
        (["--data=x", "--output=y", "--fusion=mid"], "error: fusion 'mid' does not exist; choose"),
        (["--data=x", "--output=y", "--language=z"], "language.onnx: is missing; --language"),
        (["--data=x", "--output=y", "--processes=0"], "processes is 0; expected 1 or more"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_status_2(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(arguments, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_several_processes_one_says_what_is_wrong(
    rank: str,
    tmp_path: Path,
    language_files: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # it is set anew

    def refuse(config: TrainingConfig, policy: object) -> None:
        raise UserError("something to mend")

    monkeypatch.setattr("vla_ros.cli.training_progress.Trainer", refuse)
    config = TrainingConfig(data=(tmp_path,), output=tmp_path, language=language_files, threads=1)
    run = RunConfig(policy=tabletop_small(), training=config)
    assert train_in_group(run) == MENDABLE
    assert ("error: something to mend" in capsys.readouterr().err) == (rank == "0")
