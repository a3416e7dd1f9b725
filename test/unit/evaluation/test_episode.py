"""One episode: policies that do nothing, do the right thing, or lie about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vla_ros.core.errors import InstructionRejected
from vla_ros.core.types import ActionChunk, FloatArray, Observation
from vla_ros.evaluation.episode import DoneSignal, run_episode
from vla_ros.learning.experts import Expert
from vla_ros.sim.environment import Environment
from vla_ros.sim.model import JOINTS
from vla_ros.sim.scenes import TEST_SEED, Scene, sample_scene

Act = Callable[[Observation], tuple[FloatArray, float]]


class FunctionPolicy:
    """A policy of one function from observations to joint targets (H, 6) [rad] and progress."""

    name = "function"
    bundle_sha256 = "0" * 64

    def __init__(self, act: Act) -> None:
        self._act = act
        self.instruction = ""

    def start(self, instruction: str) -> None:
        if len(instruction) > 500:
            raise InstructionRejected("the instruction has more than 500 characters")
        self.instruction = instruction

    def infer(self, observation: Observation) -> ActionChunk:
        positions, progress = self._act(observation)
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=0.05,
            joint_names=JOINTS,
            positions=positions,
            progress=progress,
            instruction=self.instruction,
        )


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    environment = Environment(cameras=())
    yield environment
    environment.close()


def hold(observation: Observation) -> tuple[FloatArray, float]:
    return np.tile(observation.state.astype(np.float64), (10, 1)), 0.0


def expert_in(environment: Environment, progress: float | None = None) -> Act:
    expert = Expert()

    def act(observation: Observation) -> tuple[FloatArray, float]:
        chunk, own = expert.chunk(environment.table)
        return chunk, own if progress is None else progress

    return act


def lift_scene() -> Scene:
    return sample_scene(seed=TEST_SEED, skill="lift")


def test_a_policy_that_does_nothing_fails_when_time_is_up(environment: Environment) -> None:
    result = run_episode(environment, FunctionPolicy(hold), lift_scene(), limit_s=0.5)
    assert not result.success
    assert not result.moved_another
    assert not result.said_done
    assert result.reason == "time is up; the policy does not say that it is done"
    assert result.duration_s == pytest.approx(0.5)
    assert result.commands == 50
    assert result.violations == 0
    assert result.rejected_chunks == 0


def test_a_policy_that_says_done_without_doing_it_is_found_out(environment: Environment) -> None:
    policy = FunctionPolicy(lambda observation: (hold(observation)[0], 1.0))
    result = run_episode(environment, policy, lift_scene(), limit_s=1.0)
    assert not result.success
    assert result.said_done
    assert result.reason == "the policy says after 0.6 s that it is done, and it is not"


def test_what_the_instruction_asks_for_is_success_and_ends_soon(environment: Environment) -> None:
    result = run_episode(environment, FunctionPolicy(expert_in(environment)), lift_scene())
    assert result.success
    assert result.said_done
    assert result.violations == 0
    assert result.reason.startswith("lift done at")
    assert result.duration_s < 6.0
    assert environment.table.time_s < result.duration_s + 1.5


def test_after_success_a_policy_that_never_says_done_gets_a_limited_time(
    environment: Environment,
) -> None:
    policy = FunctionPolicy(expert_in(environment, progress=0.2))
    result = run_episode(environment, policy, lift_scene(), linger_s=0.4)
    assert result.success
    assert not result.said_done
    assert environment.table.time_s == pytest.approx(result.duration_s + 0.4, abs=0.06)


def test_moving_something_else_ends_the_episode_as_a_failure(environment: Environment) -> None:
    scene = next(
        scene
        for scene in (sample_scene(seed=TEST_SEED + k, skill="reach") for k in range(50))
        if len(scene.objects) >= 3
    )
    wrong = scene.objects[1].name
    act = expert_in(environment)

    def throw(observation: Observation) -> tuple[FloatArray, float]:
        environment.table.data.joint(wrong).qvel[:3] = (0.4, 0.0, 0.6)
        return act(observation)

    result = run_episode(environment, FunctionPolicy(throw), scene)
    assert result.moved_another
    assert not result.success
    assert result.reason == f"{wrong} was moved, which the instruction does not ask for"
    assert result.duration_s < 2.0


def test_chunks_that_the_gate_rejects_are_counted(environment: Environment) -> None:
    policy = FunctionPolicy(lambda observation: (np.full((10, 6), np.nan), 0.0))
    result = run_episode(environment, policy, lift_scene(), limit_s=0.5)
    assert result.rejected_chunks == 10
    assert result.violations == 0


def test_a_wild_policy_breaks_no_limit(environment: Environment) -> None:
    rng = np.random.default_rng(0)

    def flail(observation: Observation) -> tuple[FloatArray, float]:
        return observation.state + rng.uniform(-0.7, 0.7, (10, 6)), 0.0

    result = run_episode(environment, FunctionPolicy(flail), lift_scene(), limit_s=2.0)
    assert result.violations == 0
    assert result.commands > 0


def test_a_rejected_instruction_is_a_failure_with_its_reason(environment: Environment) -> None:
    result = run_episode(
        environment, FunctionPolicy(hold), lift_scene(), instruction="lift " * 500
    )
    assert not result.success
    assert result.reason.startswith("the policy rejects it: the instruction has more than 500")


def test_the_policy_gets_the_given_words_and_the_scene_is_judged(environment: Environment) -> None:
    policy = FunctionPolicy(expert_in(environment))
    result = run_episode(environment, policy, lift_scene(), instruction="reach the green ball")
    assert policy.instruction == result.instruction == "reach the green ball"
    assert result.success, "judged is the scene's own task"


def test_done_means_high_progress_for_half_a_second() -> None:
    done = DoneSignal()
    said = [done.hear(0.95, 0.05 * step) for step in range(11)]
    assert said == [False] * 10 + [True]
    assert not done.hear(0.5, 0.6)
    assert not done.hear(0.95, 0.65)
    assert not DoneSignal().hear(float("nan"), 0.0)
