from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.exporting.observations import RecordedInputs
from vla_ros.engine.exporting.timing import graph_of
from vla_ros.evaluation.recording import record_inputs
from vla_ros.policy.bundle import GRAPH, GROUNDING, Bundle
from vla_ros.sim.scenes import TEST_SEED


@pytest.fixture(scope="module")
def recorded(language_files: Path) -> RecordedInputs:
    """Two episodes of the shipped policy."""
    return record_inputs(language_files, episodes=2, every=6)


def test_both_graphs_run_on_what_is_recorded(
    recorded: RecordedInputs, language_files: Path
) -> None:
    for name in (GRAPH, GROUNDING):
        engine = open_engine(graph_of(language_files, name), EngineChoice())
        rows = recorded.rows(name)
        assert len(rows) >= 8
        for row in rows[:2]:
            assert all(np.isfinite(value).all() for value in engine.infer(row).values())
        engine.close()


def test_what_is_recorded_is_what_the_policy_saw(recorded: RecordedInputs) -> None:
    acted, grounded = recorded.graphs[GRAPH], recorded.graphs[GROUNDING]
    assert np.array_equal(acted["rgb_front"], grounded["rgb_front"])
    assert len(np.unique(acted["state"], axis=0)) == len(acted["state"])  # the arm moves
    assert grounded["language_mask"].sum() > 0
    prompted = grounded["shown_mask"].any(axis=1)
    assert prompted.any()
    assert not prompted.all()


def test_no_test_scene_is_recorded_and_the_bundle_is_named(
    recorded: RecordedInputs, language_files: Path
) -> None:
    assert max(recorded.about["seeds"]) < TEST_SEED
    assert recorded.about["bundle_sha256"] == Bundle.open(language_files).sha256
