"""Find a test scene in which an instruction makes sense, so that physics can judge it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vla_ros.core.errors import UserError
from vla_ros.planner.vocabulary import EVERYDAY, Vocabulary
from vla_ros.sim.layout import DIRECTIONS, ObjectSpec
from vla_ros.sim.scenes import HELD_OUT_COMBINATIONS, TEST_SEED, Scene, sample_scene

#: Scenes that are looked at before the search gives up.
MOST_SCENES = 20_000
#: Words between a colour and the noun it belongs to, at most.
COLOUR_REACH = 3
#: "on the red cube, put ...", "crown the red cube with ...": what comes next is the goal.
_BEFORE_GOAL = re.compile(
    r"\b(?:onto|on|upon|atop|above|over|in|into|inside|to|at|under|beneath|crown|cover|top|cap|"
    r"surmount|bottom)\s+(?:(?:the|a|an|top|of|small|large|big|little|this|that|is)\s+)*$"
)
#: Words that mean lifting whatever the verb is.
_UP = frozenset(
    [
        "up",
        "upwards",
        "off",
        "air",
        "airborne",
        "levitate",
        "clearance",
        "gap",
        "height",
        "high",
        "higher",
        "above",
        "aloft",
    ]
)
_NO_DIRECTION = re.compile(r"\b(?:right (?:now|away|there|next|here)|go ahead)\b")
_TO_THE_ROBOT = re.compile(
    r"\b(?:towards?|nearer to|closer to) (?:you|yourself|the robot|the base)\b"
)
_BEFORE_NOUN = frozenset(["the", "a", "an", "this", "that", "our", "my", "your", "coloured"])
_DIRECTION_WORDS = {
    "left": "left",
    "leftward": "left",
    "leftwards": "left",
    "right": "right",
    "rightward": "right",
    "rightwards": "right",
    "forward": "forward",
    "forwards": "forward",
    "away": "forward",
    "ahead": "forward",
    "backward": "backward",
    "backwards": "backward",
    "back": "backward",
    "closer": "backward",
}

#: Colour and shape of a thing; None where the instruction leaves it open.
Description = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an instruction asks for, read plainly: for finding a scene, never for the policy.

    `named` and `base` (of a stack) are colour and shape; `container` and `direction` are names.
    """

    skill: str
    named: Description
    base: Description | None = None
    container: str | None = None
    direction: str | None = None

    def __str__(self) -> str:
        """Return it in words."""
        goal = self.container or self.direction or (_words(self.base) if self.base else "")
        return f"{self.skill} {_words(self.named)}" + (f" -> {goal}" if goal else "")

    def fits(self, scene: Scene) -> bool:
        """Return whether this is the scene's task, and the only thing it can mean there."""
        if scene.skill != self.skill or self.direction != scene.direction:
            return False
        if self.container is not None and scene.target != self.container:
            return False
        if self.base is not None:
            base = scene.find(str(scene.target))
            if not _is_only(scene, base, self.base):
                return False
        return _is_only(scene, scene.find(scene.named), self.named)


def read_request(text: str, vocabulary: Vocabulary | None = None) -> Request:
    """Return what an instruction asks for.

    Raises:
        UserError: if it names nothing that can stand on the table.
    """
    words = vocabulary or Vocabulary.load()
    plain = " ".join(re.findall(r"[a-z]+", text.lower()))
    things = _things(plain, words)
    containers = [name for phrase, name in words.containers.items() if _at(plain, phrase)]
    if not things:
        raise UserError(
            f'no object is named in "{text}"; say a colour and a shape, for example '
            '"lift the red cube"'
        )
    (start, first), *others = things
    if containers:
        return Request(skill="place", named=first, container=containers[0])
    if others:
        goal_first = _BEFORE_GOAL.search(plain[:start]) is not None
        named, base = (others[0][1], first) if goal_first else (first, others[0][1])
        return Request(skill="stack", named=named, base=base)
    spoken = _TO_THE_ROBOT.sub("closer", _NO_DIRECTION.sub("", plain)).split()
    directions = [_DIRECTION_WORDS[word] for word in spoken if word in _DIRECTION_WORDS]
    if directions:
        return Request(skill="push", named=first, direction=directions[0])
    verbs = words.find(spoken).verbs
    up = bool(_UP & set(spoken)) or ("lift" in verbs and "reach" not in verbs)
    return Request(skill="lift" if up else "reach", named=first)


def find_scene(request: Request, first_seed: int = TEST_SEED) -> Scene:
    """Return the first test scene from `first_seed` on whose task is the request.

    Raises:
        UserError: if there is none.
    """
    held_out = {request.named, request.base} & set(HELD_OUT_COMBINATIONS)
    split = "anything" if held_out else "seeds"
    for seed in range(first_seed, first_seed + MOST_SCENES):
        scene = sample_scene(seed=seed, split=split, skill=request.skill)
        if request.fits(scene):
            return scene
    raise UserError(
        f"no scene has the task '{request}'; try another pair: things are cubes, cylinders and "
        f"balls in six colours, stacks stand on cubes and cylinders, and pushes go "
        f"{', '.join(DIRECTIONS)}"
    )


def _things(plain: str, words: Vocabulary) -> list[tuple[int, Description]]:
    """Return position and description of every object the text mentions, in order."""
    colours = _mentions(plain, words.colours)
    before = _BEFORE_NOUN | {word for phrase in words.colours for word in phrase.split()}
    nouns = [
        (start, end, shape)
        for start, end, shape in _mentions(plain, words.shapes)
        if plain[start:end] not in EVERYDAY or set(plain[:start].split()[-1:]) & before
    ]
    found: list[tuple[int, Description]] = []
    used: set[int] = set()
    for at, _, shape in nouns:
        near = [
            (start, colour)
            for start, end, colour in colours
            if end <= at and start not in used and plain[end:at].count(" ") <= COLOUR_REACH
        ]
        if near:
            used.add(near[-1][0])
        found.append((near[-1][0] if near else at, (near[-1][1] if near else None, shape)))
    if not nouns:
        found = [(start, (colour, None)) for start, _, colour in colours]
    return found


def _mentions(plain: str, phrases: dict[str, str]) -> list[tuple[int, int, str]]:
    """Return (start, end, canonical name) of phrases in order; the longest wins."""
    taken: list[tuple[int, int, str]] = []
    for phrase in sorted(phrases, key=len, reverse=True):
        for match in re.finditer(rf"\b{re.escape(phrase)}s?\b", plain):
            if all(match.end() <= a or match.start() >= b for a, b, _ in taken):
                taken.append((match.start(), match.end(), phrases[phrase]))
    return sorted(taken)


def _at(plain: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}s?\b", plain) is not None


def _is_only(scene: Scene, item: ObjectSpec, described: Description) -> bool:
    alike = [other.name for other in scene.objects if _matches(other, described)]
    return alike == [item.name]


def _matches(item: ObjectSpec, described: Description) -> bool:
    colour, shape = described
    return colour in (None, item.colour) and shape in (None, item.shape)


def _words(described: Description) -> str:
    colour, shape = described
    return " ".join(word for word in (colour, shape or "thing") if word)
