"""Runs the graph that says what an instruction means among the things in front of the robot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import UserError
from vla_ros.engine.engine import Engine, EngineDescription
from vla_ros.engine.language import LanguageTokens

Float32Array = NDArray[np.float32]

#: What is pointed at and there this surely is found; until then every image is looked at.
SURE, THERE = 0.9, 0.5
#: How long images are looked at for it; the best of them counts. An arm that hides what is meant
#: moves away in that time. Between two looks, no more than the step counts: a policy that infers
#: seldom looks as often as one that does at 20 Hz. Half a step is room for rounding.
LOOKED_S, STEP_S = 2.0, 0.05
MOST_LOOKED_NS, STEP_NS = round(1e9 * (LOOKED_S - 0.5 * STEP_S)), round(1e9 * STEP_S)
#: How far a region's centre may be from where a demonstration acted [m].
NEAR_M = 0.03
INPUTS = ("rgb_front", "depth_front", "present")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grounding:
    """What an instruction means in one image.

    Attributes:
        slots: What the policy is told (1, 4, W).
        queries: What its eyes look for (1, 2, W).
        score: How likely it is that everything asked for is there, 0 to 1, by the words alone.
        match: How likely it is that words and scene belong together, 0 to 1.
        pointers: How likely each region is the object, the target (2, K + 1); last, none of them.
        regions: Things in the image (K, 6): xyz [m] in the base frame, presence, pixel [px].
        similarity: Of object and target with each region (2, K), cosine.
        embedding: What each region looks like (K, E).
        prompted: Whether demonstrations said what the words mean.
    """

    slots: Float32Array
    queries: Float32Array
    score: float
    match: float
    pointers: Float32Array
    regions: Float32Array
    similarity: Float32Array
    embedding: Float32Array
    prompted: bool = False

    def region_at(self, xyz: Float32Array) -> int | None:
        """Return the region nearest to a point (3,) [m] in the base frame; None if far."""
        there = self.regions[:, 3] > 0
        if not there.any():
            return None
        apart = np.linalg.norm(self.regions[:, :2] - xyz[:2], axis=1) + 1e3 * ~there
        nearest = int(apart.argmin())
        return nearest if apart[nearest] <= NEAR_M else None

    def describe_absence(self, xyz: Sequence[float]) -> str:
        """Return in words that nothing is seen at a point (3,) [m], and where things are."""
        there = [f"({x:.2f}, {y:.2f})" for x, y, _, presence, *_ in self.regions if presence > 0]
        return (
            f"nothing is seen within {100 * NEAR_M:.0f} cm of ({xyz[0]:.2f}, {xyz[1]:.2f}) m, "
            + (f"only at {', '.join(there)}" if there else "nor anywhere else")
        )

    @property
    def found(self) -> bool:
        """Whether there is nothing to gain from another image."""
        return self.sureness >= SURE and self.presence >= THERE

    @property
    def presence(self) -> float:
        """How likely it is that everything asked for is there, by words or by demonstrations.

        Demonstrations tell the pointer alone what words mean that the score has never heard.
        """
        return max(self.score, self.sureness) if self.prompted else self.score

    @property
    def sureness(self) -> float:
        """How surely one region is pointed at as the object."""
        return float(self.pointers[0, :-1].max())


class GroundingSession:
    """Looks at images until it knows what an instruction means; then it stays with that.

    "The cube left of the ball" is another one after either was moved: an instruction means what it
    meant when it was given.
    """

    def __init__(self, engine: Engine) -> None:
        """Ground with the graph of an engine."""
        self._engine = engine
        self._tokens: LanguageTokens | None = None
        self._looked_ns, self._seen = 0, False
        self._last_ns: int | None = None
        shown = next(each for each in engine.describe().inputs if each.name == "shown")
        self._shape = (1, *(int(length) for length in shown.shape[1:]))
        self.show(())
        self._prompt = self._shown  # of the instruction in force
        #: The best grounding of the instruction so far.
        self.best: Grounding | None = None

    def describe(self) -> EngineDescription:
        """Return what runs the graph."""
        return self._engine.describe()

    def close(self) -> None:
        """Free what the engine holds."""
        self._engine.close()

    def start(self, tokens: LanguageTokens) -> None:
        """Take a new instruction."""
        self._tokens, self.best = tokens, None
        self._looked_ns, self._last_ns, self._seen = 0, None, False
        self._prompt = self._shown

    def show(self, demonstrated: Sequence[Float32Array]) -> None:
        """Prompt with what demonstrations acted on; an empty sequence forgets them.

        It counts from the next `start` on: an instruction means what it meant when it was given.
        Demonstrations are a set. They go in sorted, as a fusion may read them one after the other.

        Args:
            demonstrated: Embeddings (E,) of the regions that were acted on, see `region_at`.

        Raises:
            UserError: if there are more than the graph reads.
        """
        most = self._shape[1]
        if len(demonstrated) > most:
            raise UserError(
                f"{len(demonstrated)} demonstrations; a prompt holds {most}, show the clearest"
            )
        shown = np.zeros(self._shape, np.float32)
        for index, embedding in enumerate(sorted(demonstrated, key=lambda each: each.tolist())):
            shown[0, index] = embedding
        there = np.arange(most)[None] < len(demonstrated)
        self._shown = {"shown": shown, "shown_mask": there.astype(np.float32)}

    def update(self, inputs: Mapping[str, NDArray[np.generic]], stamp_ns: int) -> Grounding:
        """Return what the instruction means, after a look at one more image if that may help.

        Without the front camera there is nothing to look at: it takes no turn, and what is made
        of it gives way to the first image.

        Args:
            inputs: Of the policy's graph; `INPUTS` are read.
            stamp_ns: When the images were taken [ns].
        """
        looked_ns = self._looked_ns
        if self._last_ns is not None:
            looked_ns += min(max(stamp_ns - self._last_ns, 0), STEP_NS)
        if self.best is not None and (self.best.found or looked_ns >= MOST_LOOKED_NS):
            return self.best
        seen = bool(inputs["present"][0, 0])
        if self.best is not None and not seen:
            return self.best
        found = self.look(inputs)
        if seen:
            self._looked_ns, self._last_ns = looked_ns, stamp_ns
        if self.best is None or not self._seen or _better(found, self.best):
            self.best = found
        self._seen = seen
        return self.best

    def look(
        self, inputs: Mapping[str, NDArray[np.generic]], tokens: LanguageTokens | None = None
    ) -> Grounding:
        """Return what the instruction, or other words, mean in one image."""
        prompt = self._prompt if tokens is None else self._shown
        tokens = tokens or self._tokens
        assert tokens is not None
        said = {
            "language": tokens.features[None],
            "language_mask": tokens.mask[None].astype(np.float32),
        }
        feed = {name: inputs[name] for name in INPUTS} | said | prompt
        # what an engine gives is good until it is asked again
        found = {name: value.copy() for name, value in self._engine.infer(feed).items()}
        return Grounding(
            slots=found["slots"],
            queries=found["queries"],
            score=float(found["score"][0]),
            match=float(found["match"][0]),
            pointers=found["pointers"][0],
            regions=found["regions"][0],
            similarity=found["similarity"][0],
            embedding=found["embedding"][0],
            prompted=bool(prompt["shown_mask"].any()),
        )


def _better(one: Grounding, other: Grounding) -> bool:
    return min(one.sureness, one.presence) > min(other.sureness, other.presence)
