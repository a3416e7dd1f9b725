"""Pruning: what the loss does not depend on goes first, and what is left trains on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vla_ros.cli.app import main
from vla_ros.core.errors import UserError
from vla_ros.learning.checkpoints import policy_from_checkpoint, read_checkpoint
from vla_ros.learning.grounding_losses import Terms
from vla_ros.learning.pruning import (
    PruningConfig,
    magnitude,
    measure,
    prune,
    remaining,
    save_pruned,
)
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.run_config import RunChoices
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.bundle import WEIGHTS, Bundle
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.hidden_units import hidden_units
from vla_ros.policy.model import Policy

HIDDEN = "head.body.0"


def run_command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(
    ("count", "share", "left"),
    [(384, 0.3, 272), (56, 0.3, 40), (24, 0.3, 16), (128, 0.5, 64), (8, 0.9, 8), (4, 0.5, 4)],
)
def test_layers_keep_whole_blocks(count: int, share: float, left: int) -> None:
    assert remaining(count, share) == left


def test_importance_is_the_gradient_of_a_gate() -> None:
    torch.manual_seed(0)
    policy = Policy(tabletop_small()).eval()
    units = hidden_units(policy)[HIDDEN]
    given = torch.randn(5, 256)
    gate = torch.ones(units.count, requires_grad=True)

    def loss() -> torch.Tensor:
        hidden = torch.nn.functional.gelu(units.makes(given))
        return torch.as_tensor(units.reads(hidden * gate).square().mean())

    def losses() -> Terms:
        everything = sum(value.square().sum() for value in policy.parameters())
        return {"hidden": (loss(), 1.0), "all": (torch.as_tensor(everything), 1e-9)}

    found = measure(policy, losses, batches=3)
    (expected,) = torch.autograd.grad(loss(), gate)
    torch.testing.assert_close(found[HIDDEN], expected.square(), atol=1e-7, rtol=1e-2)


def test_what_no_loss_depends_on_is_not_pruned_by_chance() -> None:
    policy = Policy(tabletop_small()).eval()
    head = policy.get_parameter("head.body.0.weight")

    def losses() -> Terms:
        return {"nothing": (head.sum() * 0, 1.0)}

    with pytest.raises(UserError, match=r"do not tell what matters in language\.mix.* and others"):
        measure(policy, losses, batches=1)


@torch.no_grad()
def test_magnitude_is_of_what_makes_a_unit_and_of_what_reads_it() -> None:
    units = hidden_units(Policy(tabletop_small()))["vision.front.trunk.9.body.0"]
    whole = magnitude(units)
    for change in (units.makes.weight[3], units.reads.weight[:, 3], units.norms[0].weight[3]):
        kept = change.clone()
        change.zero_()
        found = magnitude(units)
        assert found[3] == 0
        torch.testing.assert_close(found[4:], whole[4:])
        change.copy_(kept)


def test_a_bundle_is_pruned_by_demonstrations_trained_on_and_exported(
    untrained_bundle: Path, config: TrainingConfig, tmp_path: Path
) -> None:
    pruning = PruningConfig(
        source=untrained_bundle,
        language=config.language,
        data=config.data,
        share=0.5,
        batches=2,
        images=2,
        episodes=2,
        sentences=config.sentences,
    )
    done: list[int] = []
    smaller = prune(pruning, done.append)
    assert done == [1, 2]
    whole = sum(value.numel() for value in load_file(untrained_bundle / WEIGHTS).values())
    assert sum(value.numel() for value in smaller.parameters()) < 0.85 * whole
    path = tmp_path / "runs" / "pruned.pt"
    save_pruned(smaller, pruning, path)
    again = policy_from_checkpoint(path)
    assert again.config == smaller.config
    settings = json.loads(read_checkpoint(path)["training"])
    assert settings["share"] == 0.5
    assert settings["start_sha256"] == Bundle.open(untrained_bundle).sha256

    chosen = RunChoices(
        training={"data": config.data, "output": config.output, "start": path, "steps": 1}
    )
    policy = chosen.run(lambda given, output: config.language).policy
    assert policy == smaller.config, "a run that starts from it has its sizes"
    trainer = Trainer(replace(config, start=path, steps=1), policy)
    for name, value in again.state_dict().items():
        if name not in ("state_mean", "state_std", "imu_mean", "imu_std", "head.scale"):
            torch.testing.assert_close(trainer.policy.state_dict()[name], value)
    assert len(list(trainer.run())) == 1

    assert run_command("export", trainer.checkpoint_path, tmp_path / "bundle") == 0
    bundle = Bundle.open(tmp_path / "bundle")
    assert PolicyConfig.from_dict(bundle.policy) == smaller.config
    for name in ("policy.onnx", "grounding.onnx"):
        graph, before = (folder / name for folder in (tmp_path / "bundle", untrained_bundle))
        assert graph.stat().st_size < 0.9 * before.stat().st_size


def test_pruned_twice_is_smaller_twice(
    untrained_bundle: Path, language_files: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.pt", tmp_path / "second.pt"
    for source, output in ((untrained_bundle, first), (first, second)):
        given = ("prune", source, output, "--share", 0.5, "--by", "magnitude", "--threads", 1)
        assert run_command(*given) == 0
    sizes = [read_checkpoint(path)["policy"]["pruned"][HIDDEN] for path in (first, second)]
    assert sizes == [192, 96]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--share", "1.0", "--by", "magnitude"), "share is 1.0; expected more than 0 and less"),
        (("--by", "luck"), "--by 'luck' does not exist; choose taylor or magnitude"),
        ((), "what matters is measured on demonstrations: give their folder with --data, or"),
        (("--batches", "0", "--data", "x"), "batches is 0"),
        (("--data", "nowhere"), "nowhere: holds no shard"),
    ],
)
def test_the_command_says_what_to_mend(
    untrained_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert run_command("prune", untrained_bundle, tmp_path / "pruned.pt", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "pruned.pt").exists()
