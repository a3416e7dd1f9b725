"""Measures the language encoder: size, agreement with float32, time. Needs the training packages.

python bench/language_encoder.py [--sentences 500] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from vla_ros.core.resources import resource_path
from vla_ros.engine.language import LanguageEncoder
from vla_ros.policy.language_export import minilm_directory
from vla_ros.policy.minilm import MiniLM
from vla_ros.sim.instructions import sample_instruction

TASKS: tuple[tuple[str, str | tuple[str, str] | None, str | None], ...] = (
    ("reach", None, None),
    ("push", None, "left"),
    ("lift", None, None),
    ("place", "bowl", None),
    ("stack", ("blue", "cylinder"), None),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=resource_path("models/tabletop-small"))
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = measure(options.bundle, options.sentences)
    for name, value in result.items():
        print(f"{name:24} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


def measure(bundle: Path, sentences: int) -> dict[str, float | int | str]:
    """Return the measurements as a flat table."""
    encoder, reference = LanguageEncoder(bundle), MiniLM.from_directory(minilm_directory())
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    rng = np.random.default_rng(0)
    cosines, times_ms = [], []
    for index in range(sentences):
        skill, target, direction = TASKS[index % len(TASKS)]
        split = "phrasing" if index % 2 else "train"
        text = sample_instruction(rng, skill, ("red", "cube"), target, direction, split).text
        begin = time.perf_counter()
        tokens = encoder.encode(text)
        times_ms.append(1e3 * (time.perf_counter() - begin))
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            exact = reference(ids, torch.ones_like(ids))[0].numpy()
        made = tokens.features[tokens.mask]
        norms = np.linalg.norm(made, axis=1) * np.linalg.norm(exact, axis=1)
        cosines.append((made * exact).sum(1) / norms)
    cosine = np.concatenate(cosines)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "file_mb": round((bundle / "language.onnx").stat().st_size / 1e6, 1),
        "sentences": sentences,
        "cosine_mean": round(float(cosine.mean()), 5),
        "cosine_min": round(float(cosine.min()), 5),
        "encode_median_ms": round(float(np.median(times_ms)), 1),
    }


if __name__ == "__main__":
    main()
