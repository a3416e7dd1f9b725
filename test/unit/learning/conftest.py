"""Demonstrations small enough to make in a test, and a trainer's configuration for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vla_ros.learning.collection import CollectionConfig, collect
from vla_ros.learning.texts import TextBank
from vla_ros.learning.training_config import TrainingConfig

#: Sentences per meaning have a lower bound, so this is the smallest bank.
SENTENCES = 100


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rendered episodes of the experts."""
    folder = tmp_path_factory.mktemp("demonstrations")
    config = CollectionConfig(directory=folder, episodes=4, image_probability=0.15)
    assert sum(episodes for episodes, _ in collect(config, workers=1)) == 4
    return folder


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory, language_files: Path) -> Path:
    """The embedded sentences, which every run would otherwise embed again."""
    cache = tmp_path_factory.mktemp("sentences") / "sentences.npz"
    TextBank.build(language_files, SENTENCES, cache=cache)
    return cache


@pytest.fixture
def other_language(language_files: Path, tmp_path: Path) -> Path:
    """A language encoder that computes the same, but is another file."""
    folder = tmp_path / "other-language"
    folder.mkdir()
    (folder / "language.onnx").symlink_to(language_files / "language.onnx")
    shutil.copy(language_files / "tokenizer.json", folder)
    with (folder / "tokenizer.json").open("a") as file:
        file.write("\n")
    return folder


@pytest.fixture
def config(
    demonstrations: Path, sentences: Path, language_files: Path, tmp_path: Path
) -> TrainingConfig:
    """Three short steps over everything that is trained."""
    output = tmp_path / "run"
    output.mkdir()
    (output / "sentences.npz").hardlink_to(sentences)
    return TrainingConfig(
        data=(demonstrations,),
        output=output,
        language=language_files,
        steps=3,
        images=2,
        sentences_per_image=2,
        episodes=2,
        states_per_episode=2,
        sentences=SENTENCES,
        checkpoint_every=1,
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Several threads cost more than they bring on such small batches, above all on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
