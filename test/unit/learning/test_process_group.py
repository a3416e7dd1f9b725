"""Two processes train one policy: each on its share, both to the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import read_checkpoint
from vla_ros.learning.process_group import ProcessGroup, require_devices
from vla_ros.learning.training_config import TrainingConfig

SCRIPT = Path(__file__).with_name("trained_together.py")

pytestmark = pytest.mark.timeout(600)  # importing torch takes long on a busy machine


@dataclass(frozen=True, kw_only=True)
class Together:
    """What two processes saw, by rank, and what they left."""

    folder: Path
    seen: tuple[dict[str, Any], dict[str, Any]]
    statuses: dict[str, int]


@pytest.fixture(scope="module")
def together(
    tmp_path_factory: pytest.TempPathFactory,
    demonstrations: Path,
    sentences: Path,
    language_files: Path,
) -> Together:
    folder = tmp_path_factory.mktemp("together")
    for name in ("through", "halves", "broken"):
        (folder / name).mkdir()
        (folder / name / "sentences.npz").hardlink_to(sentences)
    command = [sys.executable, str(SCRIPT), str(folder), str(demonstrations), str(language_files)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, timeout=500)
    zero, one = (json.loads((folder / f"seen-{rank}.json").read_text()) for rank in (0, 1))
    statuses = json.loads((folder / "statuses.json").read_text())
    return Together(folder=folder, seen=(zero, one), statuses=statuses)


def test_processes_share_every_batch_and_end_with_the_same_weights(together: Together) -> None:
    zero, one = together.seen
    assert together.statuses["together"] == 0
    assert [zero["shares"], one["shares"]] == [[2, 5], [1, 4]]
    assert zero["device"] == "cpu"
    assert zero["losses"] == one["losses"], "what is logged is the mean over all"
    assert zero["weights"] == one["weights"]
    assert zero["average"] == one["average"]


def test_processes_draw_different_rows_and_noise(together: Together) -> None:
    zero, one = together.seen
    assert zero["own"].keys() == one["own"].keys()
    assert zero["own"]["state_action"] != one["own"]["state_action"]
    states = read_checkpoint(together.folder / "through" / "checkpoint.pt")["random"]
    assert len(states) == 2
    assert states[0]["numpy"] != states[1]["numpy"]
    assert not states[0]["torch"].equal(states[1]["torch"])


def test_processes_that_were_stopped_end_as_those_that_were_not(together: Together) -> None:
    for seen in together.seen:
        assert seen["resumed_at"] == 1
        assert seen["resumed_losses"] == seen["losses"][1:]
        assert seen["resumed_weights"] == seen["weights"]
        assert seen["resumed_average"] == seen["average"]


def test_one_process_writes_and_keeps_how_many_there_were(together: Together) -> None:
    through = together.folder / "through"
    assert yaml.safe_load((through / "config.yaml").read_text())["training"]["processes"] == 2
    assert read_checkpoint(through / "checkpoint.pt")["step"] == 3
    assert not list(through.glob("*.partial"))


def test_a_loss_that_is_not_finite_in_one_process_stops_all_and_is_named(
    together: Together,
) -> None:
    assert together.seen[0]["said"] == together.seen[1]["said"]
    said = together.seen[0]["said"]
    assert said.startswith("step 1: the loss of this batch is not finite (process 0: text=")
    of_zero, of_one = said.split("process 1: ")
    assert "nan" not in of_zero
    assert "state_action=nan" in of_one
    assert "the last good checkpoint is" in said
    saved = read_checkpoint(together.folder / "broken" / "checkpoint.pt")
    assert saved["step"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in saved["networks"].values())


def test_processes_agree_on_what_is_true_in_any_of_them(together: Together) -> None:
    assert [seen["anybody"] for seen in together.seen] == [[True, False], [True, False]]


def test_processes_that_see_other_files_are_told_so(together: Together) -> None:
    said = "the step is 0 in process 0, 1 in process 1; all processes must see the same files"
    assert all(seen["disagreed"].startswith(said) for seen in together.seen)


def test_a_process_that_fails_ends_the_others_and_gives_the_exit_status(
    together: Together,
) -> None:
    assert together.statuses["one_fails"] == 3


def test_a_process_that_was_not_started_as_one_of_so_many_says_how_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(UserError, match=r"processes is 2, but 1 train together; .*--processes 2"):
        ProcessGroup(processes=2)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="processes is 2, but 4 train together"):
        ProcessGroup(processes=2)


def test_alone_a_process_has_every_row() -> None:
    group = ProcessGroup(device="cpu")
    assert (group.count, group.rank, group.main) == (1, 0, True)
    assert group.share(7) == 7
    assert group.gather({"a": 1}) == [{"a": 1}]
    assert group.any_of(True)
    assert not group.any_of(False)


def test_more_processes_than_accelerators_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    require_devices(2, "auto")
    require_devices(3, "cpu")
    with pytest.raises(UserError, match=r"processes is 3, .* has 2 of cuda; give --processes 2,"):
        require_devices(3, "auto")


def test_a_batch_too_small_to_share_is_refused(config: TrainingConfig) -> None:
    from dataclasses import replace

    with pytest.raises(UserError, match="images is 2 and processes is 3; expected one or more"):
        replace(config, processes=3)
