"""Measures what the planner makes of sentences: how many it refuses, how it cuts them in steps.

python bench/planner_words.py [--sentences 1000] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from vla_ros.core.errors import InstructionRejected
from vla_ros.planner import InstructionCheck, StepSplitter
from vla_ros.sim.reasoning import REASONING_SPLITS, REASONING_SUITES, sample_reasoning_scene
from vla_ros.sim.scenes import TEST_SEED, sample_scene

#: Suite of scenes with one task of plain words; the others are those of reasoning.
CORE = "core"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=1000, help="of each suite and split")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [
        measure(suite, split, options.sentences)
        for suite in (CORE, *REASONING_SUITES)
        for split in REASONING_SPLITS
    ]
    print(f"{'suite':12} {'split':12} {'refused':>8} {'cut wrongly':>12}")
    for row in rows:
        print(f"{row['suite']:12} {row['split']:12} {row['refused']:8} {row['cut_wrongly']:12}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def measure(suite: str, split: str, count: int) -> dict[str, str | int]:
    """Return how many of a suite's sentences the planner refuses, or cuts in other steps."""
    texts = [sentence(suite, split, TEST_SEED + index) for index in range(count)]
    expected = 2 if suite == "steps" else 1
    splitter = StepSplitter()
    return {
        "suite": suite,
        "split": split,
        "sentences": count,
        "refused": refusals(texts),
        "cut_wrongly": sum(len(splitter.split(text)) != expected for text in texts),
    }


def sentence(suite: str, split: str, seed: int) -> str:
    """Return the instruction of a scene."""
    if suite == CORE:
        return sample_scene(seed=seed, split=split).text
    return sample_reasoning_scene(seed=seed, suite=suite, split=split).text


def refusals(texts: Sequence[str]) -> int:
    """Return how many of `texts` the planner does not let through."""
    check, refused = InstructionCheck(), 0
    for text in texts:
        try:
            check.accept(text)
        except InstructionRejected:
            refused += 1
    return refused


if __name__ == "__main__":
    main()
