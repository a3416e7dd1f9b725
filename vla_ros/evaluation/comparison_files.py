"""Reads the results of evaluations into runs.

A run is one policy: all results of one bundle in one folder, or one row of `bench/fusion.py`. A
suite that was played on several sets of scenes makes a run of each.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.evaluation.comparison import CORE, Comparison, Run, Scenes, Score

Row = Mapping[str, Any]


def read_comparison(paths: Sequence[Path]) -> Comparison:
    """Return the runs in folders and files.

    Args:
        paths: JSON files of `vla_ros eval --json` or of `bench/fusion.py`, or folders with some.

    Raises:
        UserError: if one is not there, or holds no results; names it.
    """
    runs: list[Run] = []
    skipped: list[Path] = []
    for path in paths:
        if path.is_dir():
            found, others = _read_folder(path)
            runs += found
            skipped += others
        else:
            loaded = _load(path)
            if not _holds_results(loaded):
                raise UserError(
                    f"{path}: holds no results of an evaluation: expected `success`, `suites` or "
                    "a list of rows with `success`; `vla_ros eval --json FILE` writes some"
                )
            runs += _runs_of({path: loaded}, path.stem)
    return Comparison(runs=_with_names_of_their_own(runs), skipped=tuple(skipped))


def _read_folder(folder: Path) -> tuple[list[Run], list[Path]]:
    files = {path: _load(path) for path in sorted(folder.glob("*.json"))}
    good = {path: loaded for path, loaded in files.items() if _holds_results(loaded)}
    others = [path for path in files if path not in good]
    if not good:
        unfinished = [path.name for path in sorted(folder.glob("*.episodes*"))]
        seen = [path.name for path in others] + [f"{name} (unfinished)" for name in unfinished]
        raise UserError(
            f"{folder}: holds no results of an evaluation, {', '.join(seen) or 'nor any JSON'}; "
            f"`vla_ros eval --policy BUNDLE --json {folder}/core.json` writes some"
        )
    return _runs_of(good, folder.resolve().name), others


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read as results: {error}") from error


def _rows_in(loaded: Any) -> list[Row] | None:
    """Return the rows of a table of runs; None if it is none."""
    rows = loaded.get("rows") if isinstance(loaded, dict) else loaded
    if not isinstance(rows, list) or not rows:
        return None
    good = all(isinstance(row, dict) and _is_rate(row.get("success")) for row in rows)
    return rows if good else None


def _holds_results(loaded: Any) -> bool:
    if _rows_in(loaded) is not None:
        return True
    if not isinstance(loaded, dict) or "bundle_sha256" not in loaded:
        return False
    suites = loaded.get("suites")
    return _is_rate(loaded.get("success")) or (
        isinstance(suites, dict)
        and bool(suites)
        and all(isinstance(row, dict) and _is_rate(row.get("success")) for row in suites.values())
    )


def _is_rate(value: Any) -> bool:
    """Whether it is a share; NaN, which an evaluation of nothing may write, is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _runs_of(files: Mapping[Path, Any], name: str) -> list[Run]:
    """Return the runs in files that belong together: one for each bundle and its scenes."""
    runs = []
    by_bundle: dict[str, dict[Path, Row]] = {}
    for path, loaded in files.items():
        rows = _rows_in(loaded)
        if rows is not None:
            runs += [_of_row(row) for row in rows]
        else:
            by_bundle.setdefault(loaded["bundle_sha256"], {})[path] = loaded
    for sha256, results in by_bundle.items():
        bundle = next(iter(results.values())).get("bundle", "")
        own = name if len(by_bundle) == 1 else f"{name}/{bundle} {sha256[:8]}"
        runs += _of_bundle(results, own)
    return runs


def _of_row(row: Row) -> Run:
    """Return a row of `bench/fusion.py`."""
    episodes = row.get("suite_episodes")
    suites = {}
    for suite, found in row.get("suites", {}).items():
        each = episodes.get(suite) if isinstance(episodes, dict) else episodes
        result = found if isinstance(found, dict) else {"success": found}
        suites[suite] = Score.of(result, Scenes(episodes=result.get("episodes", each)))
    overall = Score.of(row, Scenes(episodes=row.get("episodes"), first_seed=row.get("first_seed")))
    seed = f" seed {row['seed']}" if "seed" in row else ""
    return Run(
        name=str(row.get("name") or f"{row.get('fusion', 'run')}{seed}"),
        **_facts(row),
        overall=overall,
        suites={CORE: overall, **suites},
        points_lost=_points_lost(row),
    )


def _of_bundle(results: Mapping[Path, Row], name: str) -> list[Run]:
    """Return one run for every set of scenes that no other result of the suite has.

    Raises:
        UserError: if two results are of the same suite and scenes; names both.
    """
    runs: list[Run] = []
    taken: dict[tuple[str, Scenes], Path] = {}
    for path, result in results.items():
        for suite, score in _scores(result).items():
            if (suite, score.scenes) in taken:
                raise UserError(
                    f"{taken[suite, score.scenes]} and {path}: are both results of '{suite}' with "
                    f"the same bundle, on {score.scenes}; keep one"
                )
            taken[suite, score.scenes] = path
            at = next((i for i, run in enumerate(runs) if suite not in run.suites), len(runs))
            if at == len(runs):
                runs.append(Run(name=name if at == 0 else f"{name}, {score.scenes}"))
            facts = {key: value for key, value in _facts(result).items() if value}
            runs[at] = replace(
                runs[at],
                **facts,
                suites={**runs[at].suites, suite: score},
                points_lost={**runs[at].points_lost, **_points_lost(result)},
            )
    return [replace(run, overall=_overall(run.suites)) for run in runs]


def _facts(row: Row) -> dict[str, Any]:
    return {
        "fusion": str(row.get("fusion") or ""),
        "parameters": row.get("parameters"),
        "latency_ms": row.get("latency_ms"),
    }


def _points_lost(row: Row) -> dict[str, float]:
    lost = {name: found.get("points_lost") for name, found in row.get("robustness", {}).items()}
    return {name: float(points) for name, points in lost.items() if points is not None}


def _scores(result: Row) -> dict[str, Score]:
    """Return the score of every suite in a result of `vla_ros eval`."""
    seeds = result.get("seeds") or [None]
    scenes = Scenes(episodes=result.get("episodes"), first_seed=seeds[0])
    changes = _changes(result)
    if "suites" in result:
        return {
            ", ".join([suite, *changes]): Score.of(
                row, replace(scenes, episodes=row.get("episodes", scenes.episodes))
            )
            for suite, row in result["suites"].items()
        }
    suite = result.get("suite", CORE)
    if suite == "robustness":
        suite = "clean"
    if suite == CORE and changes:
        return {", ".join(changes): Score.of(result, scenes)}
    return {", ".join([suite, *changes]): Score.of(result, scenes)}


def _changes(result: Row) -> list[str]:
    """Return in words what an evaluation changed about the plain suite."""
    phrasings = result.get("phrasings")
    named: Iterable[tuple[str, Any]] = (
        ("", result.get("split") if result.get("split") != "seeds" else None),
        ("words of ", Path(phrasings).stem if phrasings else None),
        ("ablate ", result.get("ablate")),
        *(("without ", sensor) for sensor in result.get("without") or ()),
        *(("", disturbance) for disturbance in result.get("disturb") or ()),
        ("", "adaptive" if result.get("adaptive") else None),
        ("", "through ROS" if "direct_success" in result else None),
    )
    return [f"{word}{value}" for word, value in named if value]


def _overall(suites: Mapping[str, Score]) -> Score:
    """Return the score of the core suite; without one the mean over all, of which no interval."""
    for name in (CORE, "clean"):
        if name in suites:
            return suites[name]
    if len(suites) == 1:
        return next(iter(suites.values()))
    return Score(success=sum(score.success for score in suites.values()) / len(suites))


def _with_names_of_their_own(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Return the runs with a number behind names that several have."""
    count = Counter(run.name for run in runs)
    seen: Counter[str] = Counter()
    named = []
    for run in runs:
        seen[run.name] += 1
        unique = count[run.name] == 1
        named.append(run if unique else replace(run, name=f"{run.name} ({seen[run.name]})"))
    return tuple(named)
