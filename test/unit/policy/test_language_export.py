"""The export of the language encoder against the full-precision model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vla_ros.core.resources import resource_path
from vla_ros.engine.language import LanguageEncoder
from vla_ros.policy.language_export import export_language, minilm_directory
from vla_ros.policy.minilm import MiniLM

BUNDLE = resource_path("models/tabletop-small")
TEXTS = (
    "lift the red cube",
    "could you put the purple cylinder into the bowl, please?",
    "yellow ball -> left",
    "the blue block should be resting on the orange can",
    "shunt the scarlet sphere away from the robot base",
)


@pytest.fixture(scope="module")
def reference() -> MiniLM:
    return MiniLM.from_directory(minilm_directory())


def features_of(model: MiniLM, text: str) -> NDArray[np.float32]:
    ids = torch.tensor([Tokenizer.from_file(str(BUNDLE / "tokenizer.json")).encode(text).ids])
    with torch.inference_mode():
        features: NDArray[np.float32] = model(ids, torch.ones_like(ids))[0].numpy()
    return features


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray((a * b).sum(-1) / norms, dtype=np.float32)


def test_eight_bit_weights_keep_the_direction_of_every_token(reference: MiniLM) -> None:
    encoder = LanguageEncoder(BUNDLE)
    for text in TEXTS:
        tokens = encoder.encode(text)

        assert cosine(tokens.features[tokens.mask], features_of(reference, text)).min() > 0.995


def test_the_reference_is_a_sentence_encoder_and_not_just_any_numbers(reference: MiniLM) -> None:
    def sentence(text: str) -> NDArray[np.float32]:
        return np.asarray(features_of(reference, text).mean(0), dtype=np.float32)

    storm = sentence("a thunderstorm with heavy rain")

    assert cosine(storm, sentence("bad weather, very wet")) > 0.4
    assert cosine(storm, sentence("the price of used bicycles")) < 0.2


def test_padding_does_not_change_the_features(reference: MiniLM) -> None:
    ids = torch.tensor([[101, 6336, 1996, 2417, 14291, 102, 0, 0, 0]])
    mask = (ids > 0).long()
    with torch.inference_mode():
        padded, short = reference(ids, mask)[:, :6], reference(ids[:, :6], mask[:, :6])

    torch.testing.assert_close(padded, short, atol=1e-5, rtol=1e-5)


def test_exporting_again_makes_the_shipped_file(tmp_path: Path) -> None:
    made = export_language(tmp_path)

    assert made.stat().st_size < 30e6
    assert LanguageEncoder(tmp_path).encode(TEXTS[0]).features == pytest.approx(
        LanguageEncoder(BUNDLE).encode(TEXTS[0]).features, abs=1e-4
    )
    assert "Apache License 2.0" in (tmp_path / "LANGUAGE_LICENSE.txt").read_text(encoding="utf-8")
