"""Keeps finished episodes on disk, so that an evaluation that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from vla_ros.evaluation.episode import EpisodeResult
from vla_ros.evaluation.plan import BACKEND, EvaluationPlan


class EpisodeLog:
    """Results of the episodes of one evaluation, one JSON object a line.

    The first line says which evaluation it is: those of another bundle, other scenes, other
    disturbances or other sentences are forgotten.
    """

    def __init__(self, path: Path, plan: EvaluationPlan, bundle_sha256: str, way: str) -> None:
        """Read what is there.

        Args:
            path: The file; made with the first result.
            plan: What is played.
            bundle_sha256: Hash of the policy.
            way: How it is played: `direct` or `through ROS`.
        """
        self._path = path
        asked = [bundle_sha256, way, plan.first_seed, plan.split, plan.without, plan.limit_s]
        disturbed = [disturbance.fingerprint for disturbance in plan.disturbances()]
        what = [plan.suite, plan.ablate, *plan.instructions()]
        what += ["adaptive"] * plan.adaptive
        what += [plan.backend] * (plan.backend != BACKEND)
        if plan.takes_time:
            what += [f"{plan.delay_s:g} s late", json.dumps(asdict(plan.schedule))]
        content = json.dumps([*asked, *disturbed, what])
        self._heading = json.dumps({"evaluation": hashlib.sha256(content.encode()).hexdigest()})
        self.results = {result.index: result for result in self._read()}

    def add(self, result: EpisodeResult) -> None:
        """Keep the result of an episode that has ended."""
        if not self.results:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(self._heading + "\n", encoding="utf-8")
        self.results[result.index] = result
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")

    def remove(self) -> None:
        """Delete the file: the evaluation is whole, or was given up."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> list[EpisodeResult]:
        if not self._path.exists():
            return []
        heading, *lines = self._path.read_text(encoding="utf-8").split("\n")
        if heading != self._heading:
            return []
        # what follows the last line break was cut off by the stop
        return [EpisodeResult(**json.loads(line)) for line in lines[:-1]]
