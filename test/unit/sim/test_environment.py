"""The environment: specs, the gate between chunk and arm, what is rejected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from vla_ros.contract import load_contract
from vla_ros.core.types import ActionChunk, Observation
from vla_ros.sim.environment import STEP_S, Environment
from vla_ros.sim.model import JOINTS
from vla_ros.sim.scenes import sample_scene


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    environment = Environment()
    yield environment
    environment.close()


@pytest.fixture
def observation(environment: Environment) -> Observation:
    return environment.reset(sample_scene(seed=3)).observation


def chunk_to(
    observation: Observation, target: NDArray[np.floating], rows: int = 10
) -> ActionChunk:
    return ActionChunk(
        stamp_ns=observation.stamp_ns,
        step_s=0.05,
        joint_names=JOINTS,
        positions=np.tile(target, (rows, 1)).astype(np.float64),
    )


def test_observations_are_as_specified(environment: Environment, observation: Observation) -> None:
    spec = environment.observation_spec()
    features: dict[str, NDArray[np.generic] | None] = {
        "observation.imu": observation.imu,
        "observation.state": observation.state,
        "observation.command": observation.command,
    }
    features |= {f"observation.images.{key}": value for key, value in observation.images.items()}
    features |= {f"observation.depth.{key}": value for key, value in observation.depths.items()}
    assert set(features) == set(spec)
    for name, value in features.items():
        assert value is not None
        assert value.shape == spec[name].shape, name
        assert value.dtype == spec[name].dtype, name


def test_specs_are_the_contracts(environment: Environment) -> None:
    contract = load_contract("tabletop_sim")
    names = {spec.feature for spec in contract.observations}
    assert names | {"observation.command"} == set(environment.observation_spec())
    assert environment.action_spec().shape[-1] == len(contract.action.joints)


def test_a_step_lasts_fifty_milliseconds(
    environment: Environment, observation: Observation
) -> None:
    step = environment.step(None)
    assert step.observation.stamp_ns - observation.stamp_ns == pytest.approx(STEP_S * 1e9)
    assert environment.table.time_s == pytest.approx(STEP_S)


def test_the_arm_follows_chunks(environment: Environment, observation: Observation) -> None:
    target = observation.state + np.array([0.3, 0, 0, 0, 0.2, -0.2])
    for _ in range(20):
        step = environment.step(chunk_to(observation, target))
        observation = step.observation
        assert not step.rejected
        assert not step.violations
    np.testing.assert_allclose(observation.state, target, atol=0.06)


def test_a_violent_chunk_breaks_no_limit(
    environment: Environment, observation: Observation
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        target = observation.state + rng.uniform(-0.6, 0.6, 6)
        step = environment.step(chunk_to(observation, target))
        observation = step.observation
        assert not step.violations


def test_a_chunk_reaches_the_gate_late_and_is_joined_where_it_is_by_then(
    environment: Environment,
) -> None:
    def commands(lag_s: float) -> list[float]:
        step = environment.reset(sample_scene(seed=3), lag_s=lag_s)
        target = step.observation.state + np.array([0.1, 0, 0, 0, 0, 0])
        environment.step(chunk_to(step.observation, target))
        found = [float(environment.table.command[0])]
        for _ in range(5):
            environment.step(None)
            found.append(float(environment.table.command[0]))
        return found

    at_once, late = commands(0.0), commands(0.1)
    assert late[0] == late[1], "it has not come yet"
    assert at_once[1] > at_once[0]
    assert late[2] > late[1]
    assert late[-1] == pytest.approx(at_once[-1], abs=0.01), "no later in the end"


def test_the_lag_of_one_episode_is_not_that_of_the_next(environment: Environment) -> None:
    step = environment.reset(sample_scene(seed=3), lag_s=0.2)
    environment.step(chunk_to(step.observation, step.observation.state + np.float32(0.2)))
    step = environment.reset(sample_scene(seed=3))
    start = step.observation.state
    environment.step(chunk_to(step.observation, start - np.array([0.2, 0, 0, 0, 0, 0])))
    environment.step(None)
    assert environment.table.command[0] < start[0] - 0.01


def test_an_idle_robot_brakes_and_forgets_what_was_on_its_way(environment: Environment) -> None:
    step = environment.reset(sample_scene(seed=3), lag_s=0.1)
    target = step.observation.state + np.array([0.3, 0, 0, 0, 0, 0])
    for _ in range(4):
        step = environment.step(chunk_to(step.observation, target))
    for _ in range(4):
        environment.idle()
    there = environment.table.command[0]
    assert there < target[0] - 0.2, "it did not go on"
    environment.idle()
    assert environment.table.command[0] == there


def test_a_bad_chunk_is_rejected_with_the_reason_and_the_arm_holds(
    environment: Environment, observation: Observation
) -> None:
    good = chunk_to(observation, observation.state)
    for bad, reason in (
        (replace(good, positions=good.positions * np.nan), "finite"),
        (replace(good, joint_names=("a", *JOINTS[1:])), "joints: expected"),
        (replace(good, stamp_ns=good.stamp_ns - 10**10), "old|stale|age"),
    ):
        before = environment.table.joint_positions
        step = environment.step(bad)
        assert re.search(reason, step.rejected), step.rejected
        assert np.abs(environment.table.joint_positions - before).max() < 0.03
