"""Plays an evaluation's episodes, in several processes, faster than real time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from vla_ros.contract.loading import load_contract
from vla_ros.core.errors import UserError
from vla_ros.core.protocols import Policy
from vla_ros.engine.onnx_policy import OnnxPolicy
from vla_ros.evaluation.episode import EpisodeResult, run_episode
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report
from vla_ros.sim.environment import Environment

OnEpisode = Callable[[EpisodeResult], None]
_Job = tuple[str, EvaluationPlan, int, str]


def evaluate(
    bundle: Path,
    plan: EvaluationPlan,
    *,
    workers: int = 2,
    on_episode: OnEpisode | None = None,
) -> Report:
    """Play every episode of the plan with a bundle on ONNX Runtime.

    Args:
        bundle: Directory of the policy.
        plan: What to play.
        workers: Processes; 1 plays in this one. The results do not depend on it.
        on_episode: Called as each episode ends, in any order.

    Raises:
        BundleError: if the bundle cannot be used.
        UserError: if the plan cannot be played.
    """
    if workers < 1:
        raise UserError(f"workers is {workers}; expected 1 or more")
    policy = OnnxPolicy(bundle, load_contract("tabletop_sim"))
    jobs = [(str(bundle), plan, index, text) for index, text in enumerate(plan.instructions())]
    results = []
    for result in _play_all(policy, jobs, workers):
        results.append(result)
        if on_episode is not None:
            on_episode(result)
    return Report(
        plan=plan,
        bundle=policy.name,
        bundle_sha256=policy.bundle_sha256,
        results=tuple(sorted(results, key=lambda result: result.index)),
    )


def play(
    environment: Environment, policy: Policy, plan: EvaluationPlan, index: int, instruction: str
) -> EpisodeResult:
    """Play one episode of a plan."""
    return run_episode(
        environment,
        policy,
        plan.scene(index),
        instruction=instruction,
        index=index,
        limit_s=plan.limit_s,
    )


def _play_all(policy: Policy, jobs: list[_Job], workers: int) -> Iterator[EpisodeResult]:
    if workers == 1:
        environment = Environment()
        for _, plan, index, text in jobs:
            yield play(environment, policy, plan, index, text)
        environment.close()
        return
    with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs))) as pool:
        yield from pool.imap_unordered(_play_job, jobs)


def _play_job(job: _Job) -> EpisodeResult:
    bundle, plan, index, text = job
    environment, policy = _tools(bundle)
    return play(environment, policy, plan, index, text)


@cache
def _tools(bundle: str) -> tuple[Environment, OnnxPolicy]:
    """Load what a worker process needs once."""
    return Environment(), OnnxPolicy(bundle)
