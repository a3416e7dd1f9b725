"""A policy that takes its time: one inference at a time, nothing before it is over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.core.types import ActionChunk, Observation
from vla_ros.engine.scheduling import Schedule, ScheduleSettings
from vla_ros.evaluation.delayed import DelayedPolicy
from vla_ros.evaluation.episode import run_episode
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.smoothness import measure_jerk
from vla_ros.sim.environment import STEP_S, Environment
from vla_ros.sim.model import JOINTS
from vla_ros.sim.scenes import TEST_SEED, sample_scene

BEGIN_NS, STEP_NS = 1_000_000_000, round(STEP_S * 1e9)


class RecordingPolicy:
    """Holds where it is, and remembers when it was asked and what it only noticed."""

    name, bundle_sha256 = "recording", "0" * 64

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.noticed: list[int] = []

    def start(self, instruction: str) -> None:
        del instruction

    def notice(self, observation: Observation) -> None:
        self.noticed.append(observation.stamp_ns)

    def infer(self, observation: Observation) -> ActionChunk:
        self.asked.append(observation.stamp_ns)
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=STEP_S,
            joint_names=JOINTS,
            positions=np.tile(observation.state.astype(np.float64), (16, 1)),
        )


def look_at(delayed: DelayedPolicy, frames: int) -> list[list[tuple[int, float]]]:
    """Return, for each frame, the frames whose chunks came after it, and how long after it."""
    found = []
    for frame in range(frames):
        observation = Observation(
            stamp_ns=BEGIN_NS + frame * STEP_NS, state=np.zeros(6, np.float32)
        )
        found.append(
            [
                ((arrival.decided.stamp_ns - BEGIN_NS) // STEP_NS, round(arrival.lag_s, 6))
                for arrival in delayed.look(observation)
            ]
        )
    return found


def test_without_delay_every_observation_has_its_chunk_at_once() -> None:
    policy = RecordingPolicy()
    assert look_at(DelayedPolicy(policy, Schedule()), 3) == [[(0, 0.0)], [(1, 0.0)], [(2, 0.0)]]
    assert not policy.noticed


def test_the_next_inference_begins_no_earlier_than_the_one_before_is_over() -> None:
    policy = RecordingPolicy()
    arrivals = look_at(DelayedPolicy(policy, Schedule(), 0.2), 10)
    assert [(stamp - BEGIN_NS) // STEP_NS for stamp in policy.asked] == [0, 4, 8]
    assert arrivals == [[], [], [], [], [(0, 0.0)], [], [], [], [(4, 0.0)], []]
    assert len(policy.noticed) == 7


def test_a_delay_between_two_observations_is_kept_to_the_millisecond() -> None:
    policy = RecordingPolicy()
    arrivals = look_at(DelayedPolicy(policy, Schedule(), 0.07), 5)
    assert arrivals == [[], [(0, 0.02)], [], [(2, 0.02)], []]
    arrivals = look_at(DelayedPolicy(RecordingPolicy(), Schedule(), 0.03), 2)
    assert arrivals == [[(0, 0.03)], [(1, 0.03)]]


def test_another_instruction_drops_the_chunk_but_not_the_time_that_it_takes() -> None:
    policy = RecordingPolicy()
    delayed = DelayedPolicy(policy, Schedule(), 0.2)
    look_at(delayed, 1)
    delayed.start("push the cube")
    later = Observation(stamp_ns=BEGIN_NS + 2 * STEP_NS, state=np.zeros(6, np.float32))
    assert delayed.look(later) == []
    assert len(policy.asked) == 1
    at_end = replace(later, stamp_ns=BEGIN_NS + 4 * STEP_NS)
    assert delayed.look(at_end) == []
    assert len(policy.asked) == 2


def test_a_synchronous_policy_infers_only_when_its_chunk_has_been_executed() -> None:
    policy = RecordingPolicy()
    schedule = Schedule(ScheduleSettings(scheduling="synchronous"))
    look_at(DelayedPolicy(policy, schedule, 0.1), 40)
    # 16 rows from the arrival on, then 0.1 s of standing
    assert [(stamp - BEGIN_NS) // STEP_NS for stamp in policy.asked] == [0, 18, 36]


def test_chunks_that_miss_their_deadline_are_counted_and_not_executed() -> None:
    schedule = Schedule(ScheduleSettings(deadline_s=0.15))
    delayed = DelayedPolicy(RecordingPolicy(), schedule, 0.2)
    observation = Observation(stamp_ns=BEGIN_NS, state=np.zeros(6, np.float32))
    executed = []
    for frame in range(9):
        stamp_ns = BEGIN_NS + frame * STEP_NS
        arrivals = delayed.look(replace(observation, stamp_ns=stamp_ns))
        executed += [arrival.executed for arrival in arrivals]
    assert executed == [None, None]
    assert delayed.misses == 2


@pytest.mark.parametrize("delay_s", [-0.1, float("nan"), float("inf")])
def test_a_delay_that_is_none_is_refused(delay_s: float) -> None:
    with pytest.raises(UserError, match=r"delay is .*; expected 0 or a duration above 0 s"):
        DelayedPolicy(RecordingPolicy(), Schedule(), delay_s)
    with pytest.raises(UserError, match=r"delay is .*; expected 0 or a duration above 0 s"):
        EvaluationPlan(delay_s=delay_s)


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    environment = Environment(cameras=())
    yield environment
    environment.close()


def test_an_episode_says_how_many_inferences_it_took_and_how_smooth_it_was(
    environment: Environment,
) -> None:
    policy = RecordingPolicy()
    scene = sample_scene(seed=TEST_SEED, skill="lift")
    delayed = DelayedPolicy(policy, Schedule(), 0.25)
    result = run_episode(environment, policy, scene, limit_s=1.0, delayed=delayed)
    assert result.inferences == 4
    assert 0 <= result.jerk_rms <= result.jerk_max
    assert not result.violations


def test_jerk_is_the_third_difference_of_the_commands() -> None:
    times_s = 0.01 * np.arange(50)
    commands = np.stack([2.0 * times_s**3, np.zeros(50)], 1)
    jerk = measure_jerk(list(commands), 0.01)
    assert jerk.most == pytest.approx(12.0)
    assert jerk.rms == pytest.approx(12.0 / np.sqrt(2.0))
    assert measure_jerk(list(commands[:3]), 0.01).most == 0.0
