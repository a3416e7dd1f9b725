"""One episode with reasons: where the policy looked, what it took the words for, what decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.core.types import ActionChunk, Float32Array, Observation, UInt8Array
from vla_ros.engine.attention_overlay import THINGS, draw_attention, in_words, marks_of
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.contributions import METHODS, Contributions, measure_contributions
from vla_ros.engine.grounding import Grounding
from vla_ros.evaluation.deprivation import open_policy
from vla_ros.evaluation.episode import EpisodeResult, run_episode
from vla_ros.evaluation.plan import LIMIT_S
from vla_ros.sim.environment import Environment
from vla_ros.sim.instructions import sample_instruction
from vla_ros.sim.scenes import Scene

#: Every how many chunks the contributions are measured: twice a second.
EVERY = 10
#: Times that the cameras' images are enlarged.
ENLARGED = 3
#: What else could be said of each thing on a table, in turn.
OTHER_SKILLS = ("lift", "reach", "push")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment:
    """One chunk of an episode.

    Attributes:
        time_s: Since the episode began, simulated [s].
        instruction: Step of the instruction that the chunk is for.
        progress: How far the policy believed the step was, 0 to 1.
        grounding: What it took the step for.
        images: Camera name to the image, RGB.
        attention: Camera name to the maps of object and target (2, rows, columns).
        contributions: What decided the chunk; None for most chunks.
    """

    time_s: float
    instruction: str
    progress: float
    grounding: Grounding | None
    images: Mapping[str, UInt8Array]
    attention: Mapping[str, Float32Array]
    contributions: Contributions | None

    def draw(self, camera: str, enlarged: int = ENLARGED) -> UInt8Array:
        """Return a camera's image with the attention over it, enlarged so many times."""
        found = self.grounding
        marks = marks_of(found) if found is not None and camera == "front" else ()
        image, heat = self.images[camera], self.attention[camera]
        return draw_attention(image, heat, found, marks=marks, enlarged=enlarged)

    def to_dict(self) -> dict[str, Any]:
        """Return what is not a picture as plain data."""
        data: dict[str, Any] = {
            "time_s": round(self.time_s, 3),
            "instruction": self.instruction,
            "progress": round(self.progress, 4),
            "attention": {
                camera: {thing: _peak(seen) for thing, seen in zip(THINGS, maps, strict=True)}
                for camera, maps in self.attention.items()
            },
        }
        if self.contributions is not None:
            data["change_rad"] = dict(self.contributions.change_rad)
            data["shares"] = self.contributions.shares
        return data


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """An episode and its moments.

    Attributes:
        bundle: Name of the policy.
        bundle_sha256: Hash of the policy.
        scene: What was on the table.
        result: How the episode went.
        method: How contributions were measured, one of `METHODS`.
        others: What else could have been said: what the words are compared with.
        moments: One for each chunk.
    """

    bundle: str
    bundle_sha256: str
    scene: Scene
    result: EpisodeResult
    method: str
    others: tuple[str, ...]
    moments: tuple[Moment, ...]

    @property
    def explained(self) -> tuple[Moment, ...]:
        """The moments whose contributions were measured."""
        return tuple(moment for moment in self.moments if moment.contributions is not None)

    def mean_shares(self) -> dict[str, float]:
        """Return each source's share of all that changed, over the whole episode."""
        changes: dict[str, float] = {}
        for moment in self.explained:
            assert moment.contributions is not None
            for name, value in moment.contributions.change_rad.items():
                changes[name] = changes.get(name, 0.0) + value / len(self.explained)
        return Contributions(change_rad=changes).shares

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain data."""
        groundings = {moment.instruction: moment.grounding for moment in self.moments}
        return {
            "instruction": self.result.instruction,
            "seed": self.scene.seed,
            "things": things_on(self.scene),
            "success": self.result.success,
            "reason": self.result.reason,
            "bundle": self.bundle,
            "bundle_sha256": self.bundle_sha256,
            "method": self.method,
            "compared_with": list(self.others),
            "mean_shares": self.mean_shares(),
            "grounding": [
                {"instruction": step, **describe_grounding(found)}
                for step, found in groundings.items()
                if found is not None
            ],
            "moments": [moment.to_dict() for moment in self.moments],
        }


def explain_episode(
    bundle: Path,
    scene: Scene,
    *,
    instruction: str | None = None,
    every: int = EVERY,
    method: str = "leave_one_out",
    limit_s: float = LIMIT_S,
) -> Explanation:
    """Let a bundle act in a scene and keep the reasons of every chunk.

    Args:
        bundle: Directory of the policy.
        scene: What is on the table; its task is judged.
        instruction: What the policy is told; None for the scene's own sentence.
        every: Contributions are measured for every so manieth chunk.
        method: How, one of `METHODS`.
        limit_s: Longest duration of a step in simulated [s].

    Raises:
        BundleError: if the bundle cannot be used.
        UserError: if there is no such method, or `every` is below 1.
    """
    if every < 1:
        raise UserError(f"every is {every}; expected 1 (each chunk) or more")
    if method not in METHODS:
        raise UserError(f"method {method!r} does not exist; choose {' or '.join(METHODS)}")
    policy = open_policy(bundle)
    assert isinstance(policy, BundlePolicy)  # nothing is taken away from it
    watched = _Watched(policy, every, method, other_sentences(scene))
    environment = Environment()
    try:
        result = run_episode(environment, watched, scene, instruction=instruction, limit_s=limit_s)
    finally:
        environment.close()
    return Explanation(
        bundle=policy.name,
        bundle_sha256=policy.bundle_sha256,
        scene=scene,
        result=result,
        method=method,
        others=watched.others,
        moments=tuple(watched.moments),
    )


def other_sentences(scene: Scene) -> tuple[str, ...]:
    """Return what else could be said in a scene: one sentence for each other thing on the table.

    If nothing else is there, the thing itself is to be handled otherwise.
    """
    rng = np.random.default_rng((scene.seed, 43))
    meant = {name for goal in scene.goals for name in goal.answers}
    others = [item for item in scene.objects if item.name not in meant]
    skills = [skill for skill in OTHER_SKILLS if others or skill != scene.skill]
    return tuple(
        sample_instruction(
            rng,
            skills[index % len(skills)],
            (item.colour, item.shape),
            direction="left" if skills[index % len(skills)] == "push" else None,
        ).text
        for index, item in enumerate(others or scene.objects)
    )


def things_on(scene: Scene) -> list[str]:
    """Return the names of what is on the table, objects first."""
    return [item.name for item in scene.objects] + [item.name for item in scene.containers]


def describe_grounding(found: Grounding) -> dict[str, Any]:
    """Return what a policy took an instruction for as plain data."""
    return {
        "score": found.score,
        "in_words": in_words(found.score),
        "object_nowhere": float(found.pointers[0, -1]),
        "target_nowhere": float(found.pointers[1, -1]),
        "regions": [
            {
                "pixel": [round(float(value), 1) for value in region[4:6]],
                "xyz_m": [round(float(value), 4) for value in region[:3]],
                "presence": float(region[3]),
                "object": float(chances[0]),
                "target": float(chances[1]),
            }
            for region, chances in zip(found.regions, found.pointers.T[:-1], strict=True)
            if region[3] > 0
        ],
    }


class _Watched:
    """A policy whose every chunk is kept with its reasons."""

    def __init__(
        self, policy: BundlePolicy, every: int, method: str, others: Sequence[str]
    ) -> None:
        self._policy, self._every, self._method = policy, every, method
        self.others = tuple(others)
        self.moments: list[Moment] = []
        self._began_ns: int | None = None

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self._policy.name

    @property
    def bundle_sha256(self) -> str:
        """Hash of the policy."""
        return self._policy.bundle_sha256

    def start(self, instruction: str) -> None:
        """Hand the instruction on."""
        self._policy.start(instruction)

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the policy's chunk and keep its reasons."""
        policy = self._policy
        chunk = policy.infer(observation)
        if self._began_ns is None:
            self._began_ns = observation.stamp_ns
        contributions = None
        if len(self.moments) % self._every == 0:
            contributions = measure_contributions(policy, self.others, self._method)
        self.moments.append(
            Moment(
                time_s=(observation.stamp_ns - self._began_ns) * 1e-9,
                instruction=chunk.instruction,
                progress=chunk.progress,
                grounding=policy.grounding,
                images=observation.images,
                attention=policy.attention,
                contributions=contributions,
            )
        )
        return chunk


def _peak(seen: Float32Array) -> dict[str, Any]:
    """Return the strongest cell of a map (rows, columns) and the chance to be in view."""
    row, column = np.unravel_index(int(seen.argmax()), seen.shape)
    return {"cell": [int(row), int(column)], "in_view": round(float(seen.sum()), 4)}
