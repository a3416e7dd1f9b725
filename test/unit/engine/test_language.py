"""The shipped language encoder at run time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vla_ros.core.conventions import MAX_TOKENS
from vla_ros.core.errors import BundleError, InstructionRejected
from vla_ros.core.resources import resource_path
from vla_ros.engine.language import LanguageEncoder, token_counter
from vla_ros.sim.instructions import sample_instruction

BUNDLE = resource_path("models/tabletop-small")


@pytest.fixture(scope="module")
def encoder() -> LanguageEncoder:
    return LanguageEncoder(BUNDLE)


def test_features_are_padded_to_a_fixed_length_with_zeros(encoder: LanguageEncoder) -> None:
    tokens = encoder.encode("lift the red cube")

    assert (encoder.kind, encoder.tokens, encoder.width) == ("minilm", MAX_TOKENS, 384)
    assert tokens.features.shape == (MAX_TOKENS, 384)
    assert tokens.features.dtype == np.float32
    assert tokens.mask.sum() == 6
    assert tokens.mask[:6].all()
    assert not tokens.features[6:].any()
    assert np.isfinite(tokens.features).all()


def test_case_and_white_space_do_not_matter(encoder: LanguageEncoder) -> None:
    plain = encoder.encode("lift the red cube").features

    assert np.array_equal(plain, encoder.encode("LIFT  the\tRed cube").features)


def test_words_alike_in_meaning_are_nearer_than_words_that_differ(
    encoder: LanguageEncoder,
) -> None:
    def verb(word: str) -> np.ndarray:
        feature = encoder.encode(f"{word} the red cube").features[1]
        return np.asarray(feature / np.linalg.norm(feature))

    assert verb("lift") @ verb("raise") > verb("lift") @ verb("touch")


def test_the_same_text_is_encoded_once_and_cannot_be_changed(encoder: LanguageEncoder) -> None:
    first = encoder.encode("push the blue ball left")

    assert encoder.encode("push the blue ball left") is first
    with pytest.raises(ValueError, match="read-only"):
        first.features[0, 0] = 1.0


def test_the_cache_forgets_the_oldest_text() -> None:
    encoder = LanguageEncoder(BUNDLE, cache_size=2)
    first = encoder.encode("lift the red cube")
    for colour in ("green", "blue"):
        encoder.encode(f"lift the {colour} cube")

    again = encoder.encode("lift the red cube")

    assert again is not first
    assert np.array_equal(again.features, first.features)


def test_threads_may_share_an_encoder(encoder: LanguageEncoder) -> None:
    texts = [f"lift the {colour} cube" for colour in ("red", "green", "blue", "yellow")] * 5
    alone = [LanguageEncoder(BUNDLE).encode(text).features for text in texts[:4]]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(encoder.encode, texts))

    for index, tokens in enumerate(together):
        assert np.array_equal(tokens.features, alone[index % 4])


@pytest.mark.parametrize(
    ("text", "reason"),
    [("  ", "is empty"), ("x" * 10_000, "10000 characters"), ("red " * 60, "62 word pieces")],
)
def test_a_text_the_policy_cannot_read_is_refused(
    encoder: LanguageEncoder, text: str, reason: str
) -> None:
    with pytest.raises(InstructionRejected, match=reason):
        encoder.encode(text)


def test_training_sentences_fit() -> None:
    rng = np.random.default_rng(0)
    count = token_counter(BUNDLE)
    lengths = []
    for _ in range(1000):
        text = sample_instruction(rng, "stack", ("purple", "cube"), ("yellow", "cylinder")).text
        lengths.append(count(text))

    assert np.mean(np.array(lengths) > MAX_TOKENS) < 0.005


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.json: is missing"):
        LanguageEncoder(tmp_path)
    shutil.copy(BUNDLE / "tokenizer.json", tmp_path)
    with pytest.raises(BundleError, match=r"language\.onnx: is missing"):
        LanguageEncoder(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(BundleError, match=r"tokenizer\.json: is not a tokenizer"):
        LanguageEncoder(tmp_path)
    shutil.copy(BUNDLE / "tokenizer.json", tmp_path)
    (tmp_path / "language.onnx").write_bytes(b"not a model")
    with pytest.raises(BundleError, match=r"language\.onnx: ONNX Runtime cannot load it"):
        LanguageEncoder(tmp_path)


def test_the_running_encoder_needs_no_torch() -> None:
    code = (
        "import sys; from vla_ros.engine.language import LanguageEncoder; "
        f"LanguageEncoder({str(BUNDLE)!r}).encode('lift the red cube'); "
        "print(sorted({'torch', 'transformers', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
