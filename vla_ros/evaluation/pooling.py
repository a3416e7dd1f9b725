"""Joins runs that differ in their seed alone, so that intervals are of all their episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vla_ros.core.errors import UserError
from vla_ros.evaluation.comparison import Comparison, Run, Scenes, Score
from vla_ros.evaluation.report import mean, wilson_interval


def pool_fusions(comparison: Comparison) -> Comparison:
    """Return one run for each fusion, in the order of their first runs.

    Raises:
        UserError: if the fusion of a run is not known, or how many episodes it played.
    """
    groups: dict[str, list[Run]] = {}
    for run in comparison.runs:
        if not run.fusion:
            raise UserError(f"{run.name}: does not say which fusion it is of; leave --pool out")
        groups.setdefault(run.fusion, []).append(run)
    return replace(comparison, runs=tuple(_joined(name, runs) for name, runs in groups.items()))


def _joined(name: str, runs: Sequence[Run]) -> Run:
    suites = [suite for suite in runs[0].suites if all(suite in run.suites for run in runs)]
    lost = [each for each in runs[0].points_lost if all(each in run.points_lost for run in runs)]
    times = [run.latency_ms for run in runs if run.latency_ms is not None]
    overall = [run.overall for run in runs if run.overall is not None]
    return Run(
        name=name if len(runs) == 1 else f"{name}, {len(runs)} runs",
        fusion=name,
        parameters=runs[0].parameters,
        latency_ms=mean(times) if times else None,
        overall=_pooled(name, overall) if len(overall) == len(runs) else None,
        suites={suite: _pooled(name, [run.suites[suite] for run in runs]) for suite in suites},
        points_lost={each: mean([run.points_lost[each] for run in runs]) for each in lost},
    )


def _pooled(name: str, scores: Sequence[Score]) -> Score:
    """Return the score over the episodes of all."""
    counts = [score.scenes.episodes or 0 for score in scores]
    if not all(counts):
        raise UserError(
            f"{name}: a run does not say how many episodes it played; leave --pool out"
        )
    good = sum(round(s.success * count) for s, count in zip(scores, counts, strict=True))
    low, high = wilson_interval(good, sum(counts))
    scenes = Scenes(episodes=sum(counts))
    return Score(success=good / sum(counts), low=low, high=high, scenes=scenes)
