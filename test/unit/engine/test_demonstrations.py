"""A policy is shown what words mean: what a prompt changes, what it leaves, what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.core.demonstration import Demonstration
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.core.protocols import Promptable
from vla_ros.core.types import Observation
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.fitted_policy import FittedPolicy
from vla_ros.engine.grounding import Grounding
from vla_ros.testing.observations import make_observation
from vla_ros.testing.scripted_policy import ScriptedPolicy

WORDS = "lift the dax"


@pytest.fixture(scope="module")
def shared(untrained_bundle: Path) -> BundlePolicy:
    return BundlePolicy(untrained_bundle, load_contract("tabletop_sim"))


@pytest.fixture
def policy(shared: BundlePolicy) -> Iterator[BundlePolicy]:
    shared.show(())
    yield shared
    shared.show(())


@pytest.fixture(scope="module")
def observation() -> Observation:
    return make_observation(load_contract("tabletop_sim"))


@pytest.fixture(scope="module")
def demonstrations(shared: BundlePolicy) -> list[Demonstration]:
    """Of things in other images, four that differ."""
    found = []
    for seed in range(1, 5):
        seen = make_observation(load_contract("tabletop_sim"), seed=seed)
        shared.start("look")
        shared.infer(seen)
        found.append(Demonstration(observation=seen, xyz=place_of(shared.grounding, seed)))
    return found


def place_of(grounding: Grounding | None, number: int) -> tuple[float, float, float]:
    assert grounding is not None
    there = grounding.regions[grounding.regions[:, 3] > 0]
    x, y, z = there[number % len(there), :3]
    return float(x), float(y), float(z)


def meaning(policy: BundlePolicy, observation: Observation) -> Grounding:
    policy.start(WORDS)
    policy.infer(observation)
    assert policy.grounding is not None
    return policy.grounding


def same(one: Grounding, other: Grounding) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("slots", "queries", "pointers", "regions", "similarity", "score", "match")
    )


def test_a_policy_can_be_shown_what_words_mean(
    policy: BundlePolicy, observation: Observation, demonstrations: Sequence[Demonstration]
) -> None:
    assert isinstance(policy, Promptable)
    pointers = [meaning(policy, observation).pointers]
    for count in (1, 4):
        policy.show(demonstrations[:count])
        pointers.append(meaning(policy, observation).pointers)
    assert not np.array_equal(pointers[0], pointers[1])
    assert not np.array_equal(pointers[1], pointers[2])


def test_what_is_forgotten_changes_nothing_bit_for_bit(
    policy: BundlePolicy, observation: Observation, demonstrations: Sequence[Demonstration]
) -> None:
    before = meaning(policy, observation)
    chunk = policy.infer(observation)
    policy.show(demonstrations)
    assert not same(meaning(policy, observation), before)
    policy.show(())
    assert same(meaning(policy, observation), before)
    np.testing.assert_array_equal(policy.infer(observation).positions, chunk.positions)


def test_what_the_mask_hides_changes_nothing_bit_for_bit(
    policy: BundlePolicy, observation: Observation
) -> None:
    tokens = policy._language.encode(WORDS)
    policy.start(WORDS)
    policy.infer(observation)
    engine = policy._grounder._engine
    feed = {name: policy.inputs[name] for name in ("rgb_front", "depth_front", "present")} | {
        "language": tokens.features[None],
        "language_mask": tokens.mask[None].astype(np.float32),
        "shown_mask": np.array([[1.0, 0.0, 0.0, 0.0]], np.float32),
    }
    spec = next(each for each in engine.describe().inputs if each.name == "shown")
    shape = tuple(int(length) for length in spec.shape)
    shown = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    hidden = shown.copy()
    hidden[:, 1:] *= -50.0
    one = {name: found.copy() for name, found in engine.infer({**feed, "shown": shown}).items()}
    for name, other in engine.infer({**feed, "shown": hidden}).items():
        np.testing.assert_array_equal(one[name], other)


def test_the_order_of_demonstrations_does_not_matter(
    policy: BundlePolicy, observation: Observation, demonstrations: Sequence[Demonstration]
) -> None:
    found = []
    for order in ((0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)):
        policy.show([demonstrations[index] for index in order])
        found.append(meaning(policy, observation))
    assert same(found[0], found[1])
    assert same(found[0], found[2])


def test_a_prompt_stays_for_the_instructions_that_follow(
    policy: BundlePolicy, observation: Observation, demonstrations: Sequence[Demonstration]
) -> None:
    policy.show(demonstrations[:2])
    first = meaning(policy, observation)
    policy.start("push the blue ball left")
    policy.infer(observation)
    again = meaning(policy, observation)
    policy.show(())
    assert same(again, first)
    assert not same(meaning(policy, observation), first)


def test_an_instruction_under_way_keeps_what_it_meant(
    policy: BundlePolicy, observation: Observation, demonstrations: Sequence[Demonstration]
) -> None:
    before = meaning(policy, observation)
    policy.show(demonstrations)
    policy.infer(observation)  # unsure as it is, an untrained policy looks again
    assert policy.grounding is not None
    assert same(policy.grounding, before)
    assert not same(policy.ground(WORDS), before)  # asked anew, it counts at once


def test_a_prompt_is_of_one_policy_alone(
    untrained_bundle: Path,
    policy: BundlePolicy,
    observation: Observation,
    demonstrations: Sequence[Demonstration],
) -> None:
    other = BundlePolicy(untrained_bundle, load_contract("tabletop_sim"))
    before = meaning(other, observation)
    policy.show(demonstrations)
    assert same(meaning(other, observation), before)
    assert not same(meaning(policy, observation), before)


def test_to_be_shown_something_leaves_velocities_and_the_last_image_alone(
    policy: BundlePolicy, observation: Observation, demonstrations: Sequence[Demonstration]
) -> None:
    later = replace(observation, stamp_ns=observation.stamp_ns + 50_000_000)
    policy.start(WORDS)
    policy.infer(observation)
    undisturbed = policy.infer(later).positions
    policy.start(WORDS)
    policy.infer(observation)
    inputs = policy.inputs
    moved = replace(demonstrations[0].observation, state=observation.state + np.float32(0.3))
    policy.show([replace(demonstrations[0], observation=moved)])
    assert policy.inputs is inputs
    np.testing.assert_array_equal(policy.infer(later).positions, undisturbed)


def test_more_demonstrations_than_a_prompt_holds_are_refused(
    policy: BundlePolicy, demonstrations: Sequence[Demonstration]
) -> None:
    with pytest.raises(UserError, match="5 demonstrations; a prompt holds 4, show the clearest"):
        policy.show([*demonstrations, demonstrations[0]])


def test_a_demonstration_where_nothing_is_seen_is_named_and_the_prompt_before_stays(
    policy: BundlePolicy, observation: Observation, demonstrations: Sequence[Demonstration]
) -> None:
    policy.show(demonstrations[:1])
    before = meaning(policy, observation)
    far = replace(demonstrations[1], xyz=(9.0, 9.0, 0.0))
    nothing = r"demonstration 2: nothing is seen within 3 cm of \(9\.00, 9\.00\) m, only at \("
    with pytest.raises(UserError, match=nothing):
        policy.show([demonstrations[0], far])
    assert same(meaning(policy, observation), before)


def test_a_demonstration_without_a_front_image_is_refused(
    policy: BundlePolicy, demonstrations: Sequence[Demonstration]
) -> None:
    seen = demonstrations[0].observation
    wrist = replace(seen, images={"wrist": seen.images["wrist"]})
    with pytest.raises(ObservationError, match=r"images\.front: demonstration 1 lacks it"):
        policy.show([replace(demonstrations[0], observation=wrist)])


@pytest.mark.parametrize("xyz", [(0.1, 0.2), (0.1, 0.2, float("nan"))])
def test_a_place_that_is_none_is_refused(
    observation: Observation, xyz: tuple[float, float, float]
) -> None:
    with pytest.raises(UserError, match=r"expected 3 finite numbers \[m\] in the base frame, got"):
        Demonstration(observation=observation, xyz=xyz)


def test_a_fitted_policy_fits_demonstrations_as_well(
    policy: BundlePolicy, observation: Observation, demonstrations: Sequence[Demonstration]
) -> None:
    policy.show(demonstrations[:1])
    direct = meaning(policy, observation)
    policy.show(())
    seen = demonstrations[0].observation
    doubled = replace(
        demonstrations[0],
        observation=replace(
            seen,
            images={"front": seen.images["front"].repeat(2, 0).repeat(2, 1)},
            depths={"front": seen.depths["front"].repeat(2, 0).repeat(2, 1)},
        ),
    )
    height, width = seen.images["front"].shape[:2]
    FittedPolicy(policy, {"front": (width, height)}).show([doubled])
    assert same(meaning(policy, observation), direct)


def test_a_policy_that_only_reads_words_says_so(
    demonstrations: Sequence[Demonstration],
) -> None:
    contract = load_contract("tabletop_sim")
    blind = FittedPolicy(ScriptedPolicy(contract, lambda _: np.array(contract.home)), {})
    with pytest.raises(UserError, match="cannot be shown anything; it only reads words"):
        blind.show(demonstrations)
