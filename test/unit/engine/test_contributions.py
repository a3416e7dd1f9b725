"""What decides a chunk: by functions whose answer is known, and on a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.core.types import FloatArray
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.contributions import (
    METHODS,
    SOURCES,
    Contributions,
    leave_one_out,
    measure_contributions,
    shapley,
)
from vla_ros.evaluation.deprivation import open_policy
from vla_ros.testing.observations import make_observation

CONTRACT = load_contract("tabletop_sim")
OTHERS = ("push the blue ball to the left", "lift the green cube")


def adding(weights: Mapping[str, float]) -> Callable[[frozenset[str]], FloatArray]:
    """Return an inference to which each source that is there adds its weight."""
    return lambda kept: np.full((3, 2), sum(weights.get(name, 0.0) for name in kept))


def seen_by_either(kept: frozenset[str]) -> FloatArray:
    """Return an inference for which either camera will do."""
    return np.full((3, 2), 1.0 if kept & {"front", "wrist"} else 0.0)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_source_that_adds_more_has_the_larger_share(
    method: Callable[..., Contributions],
) -> None:
    found = method(adding({"front": 3.0, "language": 1.0}))
    assert found.change_rad["front"] == pytest.approx(3.0)
    assert found.shares == pytest.approx(
        dict.fromkeys(SOURCES, 0.0) | {"front": 0.75, "language": 0.25}
    )


def test_two_sources_that_tell_the_same_share_it_only_in_shapley_values() -> None:
    assert set(leave_one_out(seen_by_either).change_rad.values()) == {0.0}
    found = shapley(seen_by_either)
    assert found.change_rad["front"] == pytest.approx(0.5)
    assert found.change_rad["wrist"] == pytest.approx(0.5)
    assert found.change_rad["imu"] == pytest.approx(0.0)


def test_shapley_values_add_up_to_what_senses_and_memory_do_together() -> None:
    rng = np.random.default_rng(0)
    chunks: dict[frozenset[str], FloatArray] = {}

    def infer(kept: frozenset[str]) -> FloatArray:
        return chunks.setdefault(kept, rng.normal(size=(3, 2)))

    whole, blind, deaf = (
        infer(frozenset(kept)) for kept in (SOURCES, ["language"], set(SOURCES) - {"language"})
    )
    values = dict(shapley(infer).change_rad)
    assert values.pop("language") == pytest.approx(float(np.abs(whole - deaf).mean()))
    assert sum(values.values()) == pytest.approx(float(np.abs(whole - blind).mean()))


def test_where_nothing_matters_no_share_is_made_up() -> None:
    assert set(leave_one_out(adding({})).shares.values()) == {0.0}


def test_a_source_that_holds_back_has_no_share() -> None:
    found = Contributions(change_rad={"front": 1.0, "wrist": -0.5})
    assert found.shares == {"front": 1.0, "wrist": 0.0}


@pytest.fixture(scope="module")
def policy(untrained_bundle: Path) -> BundlePolicy:
    made = open_policy(untrained_bundle)
    assert isinstance(made, BundlePolicy)
    return made


def test_every_source_changes_the_chunk_of_a_bundle_and_nothing_else_changes(
    policy: BundlePolicy,
) -> None:
    now = make_observation(CONTRACT)
    later = replace(now, stamp_ns=now.stamp_ns + 50_000_000)

    def infer_twice(explain: bool) -> FloatArray:
        policy.start("lift the red cube")
        policy.infer(now)
        if explain:
            found = measure_contributions(policy, OTHERS)
            assert {name for name, value in found.change_rad.items() if value > 0} == set(SOURCES)
            assert sum(found.shares.values()) == pytest.approx(1.0)
        return policy.infer(later).positions

    np.testing.assert_array_equal(infer_twice(True), infer_twice(False))


def test_a_sense_that_is_missing_already_decides_nothing(policy: BundlePolicy) -> None:
    policy.start("lift the red cube")
    policy.infer(replace(make_observation(CONTRACT), imu=None))
    assert measure_contributions(policy, OTHERS).change_rad["imu"] == 0.0


def test_before_the_first_inference_there_is_nothing_to_explain(untrained_bundle: Path) -> None:
    fresh = open_policy(untrained_bundle)
    assert isinstance(fresh, BundlePolicy)
    with pytest.raises(RuntimeError, match="nothing was inferred yet"):
        measure_contributions(fresh, OTHERS)


def test_what_cannot_be_measured_is_refused_with_what_can(policy: BundlePolicy) -> None:
    with pytest.raises(UserError, match="choose leave_one_out or shapley"):
        measure_contributions(policy, OTHERS, "guess")
    with pytest.raises(UserError, match="no other instructions to compare with"):
        measure_contributions(policy, ())
