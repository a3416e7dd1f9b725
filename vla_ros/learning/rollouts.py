"""Drive the simulated arm through episodes and keep every state with what the expert would do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.learning.experts import STEP_S, Expert
from vla_ros.sim.environment import Environment
from vla_ros.sim.layout import CONTAINERS, DIRECTIONS
from vla_ros.sim.scenes import COLOURS, SHAPES, SKILLS, Scene
from vla_ros.sim.tabletop import CAMERAS, JOINTS, Tabletop

Value = NDArray[np.generic] | np.generic

#: Everything that can stand on the table has a kind; containers follow the shapes.
KINDS = (*SHAPES, *CONTAINERS)
MAX_THINGS = 7

#: Called at 20 Hz with the table and the expert's chunk; returns the chunk to execute.
Driver = Callable[[Tabletop, FloatArray], FloatArray]


@dataclass(slots=True)
class Record:
    """One episode: `states` has a row per 50 ms, `images` a row per rendered state."""

    success: bool = False
    texts: str = ""
    meta: dict[str, Value] = field(default_factory=dict)
    states: dict[str, list[Value]] = field(default_factory=dict)
    images: dict[str, list[Value]] = field(default_factory=dict)


class Disturbance:
    """Pushes an expert off its path now and then, so that recoveries are demonstrated too."""

    def __init__(self, rng: Generator, strength: float) -> None:
        """Make a disturbance; `strength` 0 never disturbs."""
        self._rng, self._strength = rng, strength
        self._left = 0
        self._offset = np.zeros(6)
        self._gripper: float | None = None

    def __call__(self, table: Tabletop, chunk: FloatArray) -> FloatArray:
        """Return the chunk, moved while a disturbance lasts."""
        if self._left == 0 and self._rng.random() < 0.06 * self._strength:
            self._left = int(self._rng.integers(3, 10))
            self._offset = self._rng.normal(0, [0.2, 0.12, 0.12, 0.15, 0.08, 0.0])
            grabs = self._rng.random() < 0.25
            self._gripper = float(self._rng.uniform(-0.1, 1.0)) if grabs else None
        if self._left == 0:
            return chunk
        self._left -= 1
        moved = chunk + self._offset * 0.5
        if self._gripper is not None:
            moved[:, 5] = self._gripper
        return moved


def run_episode(
    environment: Environment,
    scene: Scene,
    expert: Expert,
    driver: Driver,
    *,
    rng: Generator,
    limit_s: float = 9.0,
    image_probability: float = 0.3,
    linger_s: float = 0.4,
    lag_s: float = 0.0,
    one_at_a_time: bool = False,
) -> Record:
    """Play one episode and record it.

    Args:
        environment: It is reset; it need not render by itself.
        scene: What to do.
        expert: Labels every state.
        driver: Decides what is executed.
        rng: Draws which states are rendered.
        limit_s: Length at most [s].
        image_probability: Share of the states that are rendered.
        linger_s: How long to go on after success [s], to show what being done looks like.
        lag_s: How long after its observation a chunk reaches the gate [s].
        one_at_a_time: Whether the next chunk is begun only when the one before has come, as by a
            policy that takes `lag_s` to infer. The driver is asked all the same, to know the past.
    """
    environment.reset(scene, lag_s=lag_s)
    table = environment.table
    record = Record(texts=scene.text, meta=meta_of(table, imitate=True))
    previous = table.joint_positions
    done_at: float | None = None
    period = max(1, math.ceil(lag_s / STEP_S - 1e-6)) if one_at_a_time else 1
    for number in count():
        if table.time_s >= limit_s:
            break
        chunk, progress = expert.chunk(table)
        keep_state(record, table, previous, chunk, progress)
        if rng.random() < image_probability:
            keep_image(record, table)
        previous = table.joint_positions
        decided = ActionChunk(
            stamp_ns=environment.now_ns,
            step_s=STEP_S,
            joint_names=JOINTS,
            positions=driver(table, chunk),
        )
        score = environment.step(decided if number % period == 0 else None).score
        if score.success and done_at is None:
            done_at = table.time_s
        if done_at is not None and table.time_s - done_at > linger_s:
            break
    record.success = table.score().success
    return record


def things(scene: Scene) -> list[str]:
    """Names of everything on the table, objects first."""
    return [item.name for item in scene.objects] + [item.name for item in scene.containers]


def positions_of(table: Tabletop) -> FloatArray:
    """Positions of all things (MAX_THINGS, 3) [m] in base_link; absent ones are NaN."""
    out = np.full((MAX_THINGS, 3), np.nan)
    for index, name in enumerate(things(table.scene)):
        out[index] = table.data.body(name).xpos
        if name in CONTAINERS:
            out[index, 2] = 0.01
    return out


def meta_of(table: Tabletop, *, imitate: bool) -> dict[str, Value]:
    """Return what stands on the table and what is asked for, as the shards keep it.

    Args:
        table: At the start of the episode.
        imitate: Whether the chunks that will be kept show what to do.
    """
    scene = table.scene
    names = things(scene)
    kind = np.full(MAX_THINGS, -1, np.int8)
    colour = np.full(MAX_THINGS, -1, np.int8)
    half = np.zeros(MAX_THINGS, np.float32)
    for index, item in enumerate(scene.objects):
        kind[index], colour[index] = KINDS.index(item.shape), COLOURS.index(item.colour)
        half[index] = item.half_size
    for index, container in enumerate(scene.containers, len(scene.objects)):
        kind[index] = KINDS.index(container.name)
    return {
        "kind": kind,
        "colour": colour,
        "half": half,
        "skill": np.int8(SKILLS.index(scene.skill)),
        "named": np.int8(names.index(scene.named)),
        "target": np.int8(names.index(scene.target) if scene.target else -1),
        "direction": np.int8(list(DIRECTIONS).index(scene.direction) if scene.direction else -1),
        "imitate": np.bool_(imitate),
        "start": positions_of(table).astype(np.float32),
    }


def keep_state(
    record: Record, table: Tabletop, previous: FloatArray, chunk: FloatArray, progress: float
) -> None:
    """Append the present state with the positions 50 ms ago, the expert's chunk and progress."""
    row: dict[str, Value] = {
        "state": table.joint_positions.astype(np.float32),
        "velocity": ((table.joint_positions - previous) / STEP_S).astype(np.float32),
        "command": table.command.astype(np.float32),
        "imu": table.imu_window(),
        "chunk": chunk.astype(np.float32),
        "progress": np.float32(progress),
        "positions": positions_of(table).astype(np.float32),
    }
    for key, value in row.items():
        record.states.setdefault(key, []).append(value)


def keep_image(record: Record, table: Tabletop) -> None:
    """Render the present state, which `keep_state` has appended."""
    row: dict[str, Value] = {"row": np.int32(len(record.states["state"]) - 1)}
    for camera in CAMERAS:
        rgb, depth = table.render(camera)
        row[f"rgb_{camera}"] = rgb
        row[f"depth_{camera}"] = np.round(depth * 1000).astype(np.uint16)
        row[f"pose_{camera}"] = table.camera_pose(camera).astype(np.float32)
    for key, value in row.items():
        record.images.setdefault(key, []).append(value)
