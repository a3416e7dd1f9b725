"""A run is one file: what it cannot say is refused; what it says is done again, bit for bit."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.learning.checkpoints import read_checkpoint
from vla_ros.learning.encoder_choice import EncoderChoice
from vla_ros.learning.recipes import tabletop_small, with_fusion
from vla_ros.learning.run_config import (
    DERIVED,
    ENCODERS,
    SECTIONS,
    RunChoices,
    RunConfig,
    find_run_file,
    write_run,
)
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.fusion import FUSIONS

LANGUAGE = resource_path("models/tabletop-small")


def shipped_language(chosen: Path | None, output: Path) -> Path:
    del output
    return chosen or LANGUAGE


def written(folder: Path, text: str) -> Path:
    file = folder / "run.yaml"
    file.write_text(text)
    return file


def refusal(folder: Path, text: str) -> str:
    file = written(folder, text)
    with pytest.raises(UserError) as caught:
        RunChoices.read(file)
    assert str(caught.value).startswith(str(file)), "the file is named first"
    return str(caught.value)


def test_what_is_not_given_has_its_default(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        policy: {fusion: late, width: 96}
        training: {data: [data/a, data/b], output: runs/x, learning_rate: 1, start: null}
        """,
    )
    run = RunChoices.read(file).run(shipped_language)
    assert run.training == TrainingConfig(
        data=(Path("data/a"), Path("data/b")),
        output=Path("runs/x"),
        language=LANGUAGE,
        learning_rate=1.0,
    )
    assert run.policy == with_fusion(replace(tabletop_small(), width=96), "late")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "polcy: {}",
            "polcy: unknown key; expected only policy, training. Did you mean 'policy'?",
        ),
        ("training: {step: 3}", "training.step: unknown key; expected only "),
        ("training: {step: 3}", "Did you mean 'steps'?"),
        ("training: {steps: many}", "training.steps: expected a whole number, got 'many'"),
        ("training: {steps: 3.5}", "training.steps: expected a whole number, got 3.5"),
        ("training: {steps: true}", "training.steps: expected a whole number, got True"),
        ("training: {steps: null}", "training.steps: expected a whole number, got nothing"),
        (
            "training: {learning_rate: 1e-3}",
            "learning_rate: expected a number, got the text '1e-3'; write a number as 0.001 or",
        ),
        ("training: {data: data/a}", "training.data: expected a list of paths, got 'data/a'"),
        ("training: {data: [1]}", "training.data: expected a list of paths, got 1"),
        ("training: {start: 1}", "training.start: expected a path or nothing, got 1"),
        ("training: {start_partly: 1}", "start_partly: expected true or false, got 1"),
        ("policy: {fusion: 3}", "policy.fusion: expected text, got 3"),
        ("policy: [early]", "policy: expected a mapping, got ['early']"),
        ("policy: {n_joints: 7}", "policy.n_joints: follows from the recipe and cannot be chosen"),
        ("policy: {cameras: {}}", "policy.cameras: follows from the recipe"),
        ("policy: {language_features: 9}", "follows from the files in `training.language`"),
        ("policy: {width: 1}\npolicy: {}", "line 2: the key 'policy' is given twice; keep one"),
        ("policy: {", "not valid YAML"),
    ],
)
def test_what_a_file_cannot_say_is_refused_with_file_key_and_what_was_expected(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in refusal(tmp_path, text)


def test_a_file_that_is_not_there_is_named_with_those_that_ship(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.yaml: there is no such file; .*tabletop-small"):
        RunChoices.read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"tabletop_smal: .*Did you mean tabletop-small\?"):
        RunChoices.read("tabletop_smal")


def test_a_setting_of_the_command_line_is_read_as_strictly() -> None:
    chosen = RunChoices.parse(["policy.fusion=late", "training.freeze=[language, vision.front]"])
    assert chosen.policy == {"fusion": "late"}
    assert chosen.training == {"freeze": ("language", "vision.front")}
    for text, said in (
        (
            "fusion=late",
            "--set fusion=late: expected SECTION.FIELD=VALUE with one of the sections",
        ),
        ("policy.fusion", "expected SECTION.FIELD=VALUE"),
        ("training.steps=many", "--set: training.steps: expected a whole number, got 'many'"),
        ("training.pace=1", "--set: training.pace: unknown key; expected only"),
        ("policy.fusion={", "--set policy.fusion={: the value is no YAML"),
    ):
        with pytest.raises(UserError) as caught:
            RunChoices.parse([text])
        assert said in str(caught.value)


def test_choices_lie_over_each_other_and_another_fusion_brings_its_own_size() -> None:
    file = RunChoices(
        policy={"fusion": "early", "layers": 2, "feedforward": 100, "width": 96},
        training={"steps": 5, "seed": 3},
    )
    same = RunChoices(policy={"fusion": "early"}, training={"steps": 7}).over(file)
    assert same.policy == file.policy
    assert same.training == {"steps": 7, "seed": 3}
    assert RunChoices(policy={"fusion": "late"}).over(file).policy == {
        "fusion": "late",
        "width": 96,
    }
    sized = RunChoices(policy={"fusion": "late", "layers": 1}).over(file)
    assert sized.policy == {"fusion": "late", "width": 96, "layers": 1}


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (RunChoices(training={"output": Path("x")}), "data: missing; give --data, or `data` in"),
        (RunChoices(training={"data": (Path("x"),)}), "output: missing; give --output"),
        (
            RunChoices(policy={"fusion": "mid"}),
            f"fusion 'mid' does not exist; choose one of {', '.join(FUSIONS)}",
        ),
        (
            RunChoices(policy={"head": "l3"}),
            "head 'l3' does not exist; choose one of l1, flow, tokens",
        ),
        (
            RunChoices(policy={"image_encoder": "eye"}),
            "image_encoder 'eye' does not exist; choose one of conv, vit, pretrained",
        ),
        (RunChoices(training={"contract": "so10"}), "Did you mean so101?"),
        (RunChoices(training={"device": "gpu"}), "device 'gpu' is none; choose auto or cpu"),
        (
            RunChoices(training={"processes": 50}),
            "images is 40 and processes is 50; expected one or more for each process",
        ),
    ],
)
def test_a_run_that_is_not_possible_is_refused_before_anything_is_read(
    choices: RunChoices, said: str
) -> None:
    if "missing" not in said:
        choices = choices.over(
            RunChoices(training={"data": (Path("data"),), "output": Path("runs/x")})
        )
    with pytest.raises(UserError) as caught:
        choices.run(shipped_language)
    assert said in str(caught.value)


def test_a_sensor_that_the_contract_lacks_is_named_with_what_wants_it(tmp_path: Path) -> None:
    shipped = resource_path("config/robots/tabletop_sim.yaml").read_text()
    before, rest = shipped.split("  observation.imu:\n")
    after = rest[rest.index("\n  observation.") + 1 :]
    contract = tmp_path / "blind.yaml"
    contract.write_text((before + after).replace("name: tabletop_sim", "name: numb"))
    choices = RunChoices(
        policy={"imu_encoder": "gru"},
        training={"data": (tmp_path,), "output": tmp_path, "contract": str(contract)},
    )
    with pytest.raises(UserError, match=r"imu_encoder 'gru' reads observation.imu, and the contr"):
        choices.run(shipped_language)


@pytest.mark.parametrize("file", sorted(resource_path("config/training").glob("*.yaml")))
def test_every_shipped_file_is_a_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(resource_path("config").parent)
    assert find_run_file(file.stem) == file
    assert RunChoices.read(file.stem).run(shipped_language).training.output.parts[0] == "runs"


def test_what_is_written_is_read_back_whatever_was_chosen(tmp_path: Path) -> None:
    policy = replace(with_fusion(tabletop_small(), "projector"), width=64, head="flow")
    training = TrainingConfig(
        data=(tmp_path / "ä b", Path("c")),
        output=tmp_path,
        language=LANGUAGE,
        learning_rate=3e-5,
        start=resource_path("models/tabletop-small"),
        freeze=("language",),
        threads=1,
    )
    run = RunConfig(policy=policy, training=training)
    file = write_run(run, tmp_path)
    assert RunChoices.read(file).run(shipped_language) == run


@pytest.mark.parametrize("section", SECTIONS)
def test_the_reference_names_every_key(section: str) -> None:
    text = (resource_path("config").parent / "docs" / "reference" / "config.md").read_text()
    named = set(re.findall(r"`(?:policy\.|training\.)?(\w+)`", text))
    keys = {of.name for of in fields(SECTIONS[section])} - set(DERIVED)
    assert keys <= named, f"not in docs/reference/config.md: {keys - named}"


def test_every_choice_of_an_encoder_has_a_key() -> None:
    assert set(ENCODERS.values()) == {of.name for of in fields(EncoderChoice)}
    assert set(ENCODERS) <= {of.name for of in fields(type(tabletop_small()))}


def test_the_file_that_a_run_writes_does_it_again_bit_for_bit(config: TrainingConfig) -> None:
    first = Trainer(config, with_fusion(tabletop_small(), "late"))
    losses = list(first.run())
    again = config.output.with_name("again")
    again.mkdir()
    (again / "sentences.npz").hardlink_to(config.output / "sentences.npz")
    choices = RunChoices(training={"output": again})
    run = choices.over(RunChoices.read(config.output / "config.yaml")).run(shipped_language)
    second = Trainer(run.training, run.policy)
    assert list(second.run()) == losses
    ones, others = (read_checkpoint(trainer.checkpoint_path) for trainer in (first, second))
    for key, value in ones["average"].items():
        assert value.equal(others["average"][key]), key
    assert Trainer(*(config, run.policy)).step == config.steps, "the run itself is finished"
