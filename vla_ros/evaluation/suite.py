"""Plays an evaluation's episodes, in several processes, faster than real time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from vla_ros.core.errors import UserError
from vla_ros.core.protocols import Policy
from vla_ros.engine.scheduling import Schedule
from vla_ros.evaluation.blindfold import Blindfold
from vla_ros.evaluation.delayed import DelayedPolicy
from vla_ros.evaluation.deprivation import adaptive_of, open_policy
from vla_ros.evaluation.disturbance import Disturbance, DisturbedEnvironment
from vla_ros.evaluation.episode import EpisodeResult, run_episode
from vla_ros.evaluation.episode_log import EpisodeLog
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
    log: Path | None = None,
    keep_log: bool = False,
) -> Report:
    """Play every episode of the plan with a bundle.

    Args:
        bundle: Directory of the policy.
        plan: What to play.
        workers: Processes; 1 plays in this one. The results do not depend on it.
        on_episode: Called as each episode ends, in any order.
        log: File that keeps finished episodes until all are; those it has are not played again.
        keep_log: Whether to leave it there then.

    Raises:
        BundleError: if the bundle cannot be used.
        UserError: if the plan cannot be played.
    """
    if workers < 1:
        raise UserError(f"workers is {workers}; expected 1 or more")
    policy = open_policy(bundle, plan.lost(), adaptive=plan.adaptive, backend=plan.backend)
    Schedule(plan.schedule).require(policy)
    jobs = [(str(bundle), plan, index, text) for index, text in enumerate(plan.instructions())]
    return conduct(
        plan,
        policy,
        "direct",
        lambda missing: _play_all(policy, [jobs[index] for index in missing], workers),
        on_episode=on_episode,
        log=log,
        keep_log=keep_log,
    )


def conduct(
    plan: EvaluationPlan,
    policy: Policy,
    way: str,
    play_missing: Callable[[list[int]], Iterator[EpisodeResult]],
    *,
    on_episode: OnEpisode | None,
    log: Path | None,
    keep_log: bool = False,
) -> Report:
    """Have the episodes of a plan played that a log of it lacks, and report on all.

    Args:
        plan: What is played.
        policy: Whose results these are.
        way: How it is played: `direct` or `through ROS`.
        play_missing: Plays the episodes with the given indices, in any order.
        on_episode: Called with every result, those of the log first.
        log: File that keeps finished episodes until all are.
        keep_log: Whether to leave it there then.
    """
    kept = None if log is None else EpisodeLog(log, plan, policy.bundle_sha256, way)
    results = {} if kept is None else dict(kept.results)
    for result in results.values():
        if on_episode is not None:
            on_episode(result)
    for result in play_missing([i for i in range(plan.episodes) if i not in results]):
        results[result.index] = result
        if kept is not None:
            kept.add(result)
        if on_episode is not None:
            on_episode(result)
    if kept is not None and not keep_log:
        kept.remove()
    return Report(
        plan=plan,
        bundle=policy.name,
        bundle_sha256=policy.bundle_sha256,
        results=tuple(results[index] for index in range(plan.episodes)),
    )


def play(
    environment: Environment, policy: Policy, plan: EvaluationPlan, index: int, instruction: str
) -> EpisodeResult:
    """Play one episode of a plan."""
    scene = plan.scene(index)
    adaptive = adaptive_of(policy)
    before = (0, 0) if adaptive is None else (adaptive.observations, adaptive.inferences)
    deciding = Blindfold(policy, scene.seed) if plan.ablate == "vision" else policy
    delayed = None
    if plan.takes_time:
        delayed = DelayedPolicy(deciding, Schedule(plan.schedule), plan.delay_s)
    result = run_episode(
        environment,
        deciding,
        scene,
        instruction=instruction,
        index=index,
        limit_s=plan.limit_s,
        delayed=delayed,
    )
    if adaptive is None:
        return result
    return replace(
        result,
        observations=adaptive.observations - before[0],
        inferences=adaptive.inferences - before[1],
    )


def _play_all(policy: Policy, jobs: list[_Job], workers: int) -> Iterator[EpisodeResult]:
    if not jobs:
        return
    if workers == 1:
        environment = DisturbedEnvironment(jobs[0][1].disturbances())
        for _, plan, index, text in jobs:
            yield play(environment, policy, plan, index, text)
        environment.close()
        return
    with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs))) as pool:
        yield from pool.imap_unordered(_play_job, jobs)


def _play_job(job: _Job) -> EpisodeResult:
    bundle, plan, index, text = job
    environment, policy = _tools(
        bundle, plan.lost(), plan.disturbances(), plan.adaptive, plan.backend
    )
    return play(environment, policy, plan, index, text)


@cache
def _tools(
    bundle: str,
    lost: tuple[str, ...],
    disturbances: tuple[Disturbance, ...],
    adaptive: bool,
    backend: str,
) -> tuple[Environment, Policy]:
    """Load what a worker process needs once."""
    policy = open_policy(Path(bundle), lost, adaptive=adaptive, backend=backend)
    return DisturbedEnvironment(disturbances), policy
