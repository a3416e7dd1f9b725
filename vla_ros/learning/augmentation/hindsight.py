"""Episodes that did not do what they were told, told what they did.

In the simulator, the judge of every skill watches the commands played again, and says what was
done to what. On a robot only joints are recorded, which do not tell which thing was touched: there
the operator's label has to say it, as `did: push the red cube to the left`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vla_ros.core.errors import UserError
from vla_ros.data.episode import Episode, Outcome
from vla_ros.data.frames import RecordedEpisode, open_episode
from vla_ros.data.message_file import RecordedMessage
from vla_ros.data.tools.derivation import Derived
from vla_ros.data.tools.episode_copy import Change, copy_episode
from vla_ros.learning.augmentation.meaning import meaning_of, read_meaning, request_of
from vla_ros.learning.augmentation.paraphrase import compose
from vla_ros.learning.augmentation.relabelling import told
from vla_ros.learning.augmentation.simulated_replay import SimulatedReplay, recorded_scene
from vla_ros.sim.instructions import PhrasingBook
from vla_ros.sim.layout import DIRECTIONS
from vla_ros.sim.scene_record import SCENE_KEY
from vla_ros.sim.scenes import Goal, Scene
from vla_ros.sim.tasks import TaskJudge

#: What says most of what happened comes first: who stacks a cube lifts it on the way.
ORDER = ("stack", "place", "lift", "push", "reach")
#: The new episode ends so long after its new task was done [s].
LINGER_S = 0.4
#: Beginning of a label that says what was done.
DID = "did:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Something that was done.

    Attributes:
        goal: What it was.
        stamp_ns: When it was done [ns].
    """

    goal: Goal
    stamp_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindsight:
    """Copies a failed episode under what it did; call it with the episode and the new recording.

    Attributes:
        book: Where the new sentences come from.
        seed: Of every random choice.
        reach: Whether merely touching something counts: it happens on the way to anything.
    """

    book: PhrasingBook
    seed: int = 0
    reach: bool = False

    def __call__(self, source: Path, recording: Path) -> Derived:
        """Write the copy, if something was done.

        Raises:
            UserError: if it cannot be told what was done.
        """
        episode = open_episode(source)
        info = episode.info
        if info.outcome is not Outcome.FAILURE:
            return Derived(notes=(f"{info.name}: did not fail, and is left out",))
        if info.label.lower().startswith(DID):
            text, end_ns = info.label[len(DID) :].strip(), info.end_ns
            read_meaning(text)  # or it says why it cannot be read
        elif (done := self._find(episode)) is None:
            return Derived(notes=(f"{info.name}: did nothing that has a name",))
        else:
            text, end_ns = self._words(episode, done), done.stamp_ns + round(1e9 * LINGER_S)
        folder = copy_episode(
            source, recording, info.number, _relabelled(text, info.instruction, end_ns)
        )
        note = f"{info.name}: told {info.instruction!r}, did {text!r}"
        return Derived(episodes=(folder.name,), notes=(note,))

    def _find(self, episode: RecordedEpisode) -> Done | None:
        if SCENE_KEY not in episode.info.extra:
            try:
                recorded_scene(episode)
            except UserError as error:
                raise UserError(
                    f"{error}. What a robot did to which thing, its joints do not tell: label "
                    f"the episode '{DID} ...'"
                ) from error
        scene, told_to = recorded_scene(episode), meaning_of(episode.info)
        done = [
            item
            for item in what_was_done(episode, scene)
            if request_of(scene, item.goal) not in told_to
            and (self.reach or item.goal.skill != "reach")
        ]
        return min(done, key=lambda item: ORDER.index(item.goal.skill), default=None)

    def _words(self, episode: RecordedEpisode, done: Done) -> str:
        scene = recorded_scene(episode)
        seed = zlib.crc32(f"{self.seed} {episode.info.number}".encode())
        return compose(self.book, request_of(scene, done.goal), np.random.default_rng(seed))


def what_was_done(episode: RecordedEpisode, scene: Scene) -> list[Done]:
    """Return what the judges say was done, in the order of `possible_goals`.

    A goal counts only if nothing else was moved until then.

    Raises:
        UserError: if the episode does not come out as it was recorded.
    """
    replay = SimulatedReplay(episode, scene)
    watched = [
        (goal, TaskJudge(_with_goal(scene, goal), replay.table.model, replay.table.data))
        for goal in possible_goals(scene)
    ]
    done: dict[int, Done] = {}

    def judge() -> None:
        for index, (goal, judge) in enumerate(watched):
            if index not in done and judge.update().success:
                done[index] = Done(goal=goal, stamp_ns=replay.now_ns)

    with replay:
        replay.watch(judge)
        replay.play()
    return [done[index] for index in sorted(done)]


def possible_goals(scene: Scene) -> Iterator[Goal]:
    """Yield everything that could be asked for in a scene."""
    for item in scene.objects:
        targets: dict[str, list[tuple[str | None, str | None]]] = {
            "stack": [
                (other.name, None)
                for other in scene.objects
                if other.name != item.name and "ball" not in (other.shape, item.shape)
            ],
            "place": [(container.name, None) for container in scene.containers],
            "push": [(None, direction) for direction in DIRECTIONS],
            "lift": [(None, None)],
            "reach": [(None, None)],
        }
        for skill, pairs in targets.items():
            for target, direction in pairs:
                yield Goal(
                    skill=skill,
                    named=item.name,
                    target=target,
                    direction=direction,
                    answers=(item.name,),
                )


def _with_goal(scene: Scene, goal: Goal) -> Scene:
    return replace(
        scene,
        skill=goal.skill,
        named=goal.named,
        target=goal.target,
        direction=goal.direction,
        answers=(),
        then=(),
        absent=False,
    )


def _relabelled(text: str, original: str, end_ns: int) -> Change:
    """Return the change that tells `text`, calls it a success, and ends the episode in time."""
    change = told(text, original)

    def describe(episode: Episode) -> Episode:
        relabelled = change.description(episode)
        extra = {**relabelled.extra, "hindsight": True}
        end = min(episode.end_ns, end_ns)
        return replace(relabelled, outcome=Outcome.SUCCESS, end_ns=end, extra=extra)

    def tell(message: RecordedMessage) -> RecordedMessage | None:
        if message.log_ns > end_ns or change.message is None:
            return None
        return change.message(message)

    return Change(description=describe, message=tell)
