"""The bank of embedded sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vla_ros.learning import texts
from vla_ros.learning.texts import TextBank

SENTENCES = 100


def test_sentences_are_embedded_once_for_each_encoder(
    language_files: Path, other_language: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by: list[Path] = []

    def embed(language: Path, sentences: list[str]) -> tuple[object, object, object]:
        by.append(language)
        rows = len(sentences)
        return np.zeros((rows, 2, 3), np.float16), np.ones((rows, 2), bool), np.arange(rows)

    monkeypatch.setattr(texts, "_embed", embed)
    cache = tmp_path / "sentences.npz"
    for language in (language_files, language_files, other_language, other_language):
        TextBank.build(language, SENTENCES, cache=cache)
    assert by == [language_files, other_language]
    TextBank.build(other_language, SENTENCES, seed=1, cache=cache)
    assert len(by) == 3, "other sentences are embedded anew"
