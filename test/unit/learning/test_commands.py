"""`vla_ros demonstrate`, `train` and `export`, from nothing to a bundle that runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vla_ros.cli.app import main
from vla_ros.cli.export import describe_training
from vla_ros.contract import load_contract
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.learning.checkpoints import read_checkpoint, require_language
from vla_ros.learning.loss_plot import plot_losses, read_losses
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.bundle import Bundle
from vla_ros.testing.waiting import wait_for

DEADLINE_S = 60.0


def run_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def training_arguments(config: TrainingConfig, steps: int) -> list[str]:
    return [
        "train", "--data", str(config.data[0]), "--output", str(config.output),
        "--steps", str(steps), "--images", "0", "--episodes", "2", "--states-per-episode", "2",
        "--sentences", str(config.sentences), "--threads", "1",
    ]  # fmt: skip


def test_train_writes_a_checkpoint_a_log_and_a_plot_that_export_makes_a_bundle_of(
    config: TrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(*training_arguments(config, 20)) == 0
    assert read_checkpoint(config.output / "checkpoint.pt")["step"] == 20
    assert (config.output / "losses.png").stat().st_size > 5000
    capsys.readouterr()

    assert run_command(*training_arguments(config, 21)) == 0
    assert "going on from step 20" in capsys.readouterr().err
    assert read_checkpoint(config.output / "checkpoint.pt")["step"] == 21

    output = tmp_path / "mine"
    checkpoint = config.output / "checkpoint.pt"
    assert run_command("export", checkpoint, output) == 0
    bundle = Bundle.open(output)
    assert bundle.name == "mine"
    assert bundle.training["step"] == 21
    assert bundle.training["data"] == [config.data[0].name]
    assert str(config.data[0].parent) not in json.dumps(bundle.training)
    assert (output / "LANGUAGE_LICENSE.txt").is_file()
    BundlePolicy(output, load_contract("tabletop_sim")).start("lift the red cube")


def test_a_bundle_tells_its_round_and_the_one_before(
    config: TrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = replace(config, images=0, steps=1)
    first = Trainer(bare, tabletop_small())
    first.save()
    further = replace(bare, output=tmp_path / "further", start=first.checkpoint_path)
    further.output.mkdir()
    (further.output / "sentences.npz").hardlink_to(config.output / "sentences.npz")
    second = Trainer(further, tabletop_small())
    second.save()
    before, after = (describe_training(t.checkpoint_path) for t in (first, second))
    assert before["start"] is None
    assert before["start_sha256"] is None
    assert after["start"] == "run/checkpoint.pt"
    assert after["start_sha256"] == before["checkpoint_sha256"]
    assert str(tmp_path) not in json.dumps(after)
    assert "language.onnx" not in after, "the bundle's files have the hash"


def test_a_bundle_is_not_made_with_another_encoder_than_it_was_trained_with(
    config: TrainingConfig,
    other_language: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trainer = Trainer(replace(config, images=0), tabletop_small())
    trainer.save()
    export = ("export", trainer.checkpoint_path, tmp_path / "x", "--language", other_language)
    assert run_command(*export) == 2
    shown = capsys.readouterr().err
    assert f"{other_language}: is not the language encoder that {trainer.checkpoint_path}" in shown
    assert "tokenizer.json is " in shown
    assert not (tmp_path / "x").exists()

    state = read_checkpoint(trainer.checkpoint_path)
    settings = json.loads(state["training"])
    del settings["language.onnx"], settings["tokenizer.json"]
    torch.save(state | {"training": json.dumps(settings)}, trainer.checkpoint_path)
    require_language(trainer.checkpoint_path, other_language)  # of before it was kept


def test_ctrl_c_saves_a_checkpoint_first(config: TrainingConfig) -> None:
    arguments = [sys.executable, "-m", "vla_ros.cli.app", *training_arguments(config, 100_000)]
    log = config.output / "losses.jsonl"
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        wait_for(
            lambda: process.poll() is not None or (log.exists() and log.read_text()),
            "training logs its first losses",
            timeout_s=DEADLINE_S,
        )
        os.kill(process.pid, signal.SIGINT)
        _, shown = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, shown
    assert "the same command goes on from there" in shown
    assert read_checkpoint(config.output / "checkpoint.pt")["step"] >= 20
    assert (config.output / "losses.png").exists()


def test_demonstrate_makes_demonstrations_and_tells_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("demonstrate", "--output", tmp_path / "data", "--episodes", 1, "--workers", 1,
                 "--seed", 40, "--image-share", 0.05)  # fmt: skip
    assert run_command(*arguments) == 0
    assert (tmp_path / "data" / "shard-000000040.npz").is_file()
    assert "1 episodes more" in capsys.readouterr().out
    assert run_command(*arguments) == 0
    assert "already holds 1 of 1 episodes" in capsys.readouterr().err
    assert run_command(*arguments, "--disturbance", 0.5) == 2
    assert "disturbance is 0.5, was 1.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demonstrate", "--output", "x", "--seed", "1000000000"), "belong to the test splits"),
        (("demonstrate", "--output", "x", "--image-share", "1.5"), "--image-share is 1.5"),
        (("demonstrate", "--output", "x", "--policy", "nowhere"), "nowhere: no such bundle"),
        (("train", "--data", "nowhere", "--output", "{out}"), "nowhere: holds no shard"),
        (
            ("train", "--data", "x", "--output", "{out}", "--start", "nowhere.pt"),
            "nowhere.pt: no such file; --start takes a checkpoint.pt",
        ),
        (
            ("train", "--data", "x", "--output", "{out}", "--language", "{out}"),
            "language.onnx: is missing; --language takes a folder",
        ),
        (("export", "nowhere.pt", "x"), "nowhere.pt: no such file; `vla_ros train` writes"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(*(word.format(out=tmp_path / "out") for word in arguments)) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_that_is_none_is_refused_without_running_what_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "trapped"),))

    for content in (pickle.dumps(Trap()), b"", b"not a checkpoint"):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        assert run_command("export", tmp_path / "checkpoint.pt", tmp_path / "bundle") == 2
        assert "checkpoint.pt: is no training checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "trapped").exists()


def test_steps_done_twice_count_once_and_a_torn_line_not_at_all(tmp_path: Path) -> None:
    log = tmp_path / "losses.jsonl"
    log.write_text('{"step": 20, "text": 2.0}\n{"step": 40, "text": 1.5}\n{"step": 4\n'
                   '{"step": 40, "text": 1.0}\n')  # fmt: skip
    assert read_losses(log) == {"text": {20: 2.0, 40: 1.0}}
    plot_losses(log, tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_log_there_is_no_picture(tmp_path: Path) -> None:
    plot_losses(tmp_path / "losses.jsonl", tmp_path / "losses.png")
    assert not (tmp_path / "losses.png").exists()
