"""Where things stand on a table, and the arm before it: spots apart and within reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

CONTAINERS = ("bowl", "plate")
DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (0.0, 1.0),
    "right": (0.0, -1.0),
    "forward": (1.0, 0.0),
    "backward": (-1.0, 0.0),
}

#: Half sizes [m] of small and large objects; a cube's half edge, a cylinder's and a ball's radius.
HALF_SIZES = (0.014, 0.018)
CONTAINER_RADIUS = 0.048  # [m]
SHOULDER_X = 0.0388  # [m] the pan axis, seen from base_link
REACH = (0.135, 0.235)  # [m] object centres, distance from the pan axis
BEARING = 1.0  # [rad] object centres, to either side of straight ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSpec:
    """A rigid object: `half_size` in [m], `xy` in [m] in base_link, `yaw` in [rad]."""

    name: str
    shape: str
    colour: str
    half_size: float
    xy: tuple[float, float]
    yaw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """A bowl or a plate with its centre at `xy` [m] in base_link."""

    name: str
    xy: tuple[float, float]
    grey: float


def sample_containers(rng: Generator, skill: str) -> list[str]:
    """Draw which containers stand on the table; the first is the one to `place` into."""
    first = str(rng.choice(CONTAINERS))
    other = CONTAINERS[1 - CONTAINERS.index(first)]
    if skill == "place":
        return [first, other] if rng.random() < 0.5 else [first]
    count = int(rng.choice([0, 1, 2], p=[0.5, 0.4, 0.1]))
    return [first, other][:count]


def sample_layout(
    rng: Generator, kinds: list[tuple[str, str]], containers: list[str], direction: str | None
) -> tuple[tuple[ObjectSpec, ...], tuple[ContainerSpec, ...]] | None:
    """Place everything apart; None when the draw does not fit."""
    taken: list[tuple[NDArray[np.float64], float]] = []
    bowls: list[ContainerSpec] = []
    for name in containers:
        xy = _free_spot(rng, taken, CONTAINER_RADIUS, (0.16, 0.225))
        if xy is None:
            return None
        taken.append((xy, CONTAINER_RADIUS))
        bowls.append(
            ContainerSpec(name=name, xy=(float(xy[0]), float(xy[1])), grey=rng.uniform(0.55, 0.95))
        )
    objects: list[ObjectSpec] = []
    for index, (colour, shape) in enumerate(kinds):
        half = float(rng.choice(HALF_SIZES))
        lane = direction if index == 0 else None
        xy = _free_spot(rng, taken, 0.03, REACH, lane)
        if xy is None:
            return None
        taken.append((xy, 0.03))
        if lane is not None:  # the lane ahead of and behind a pushed object stays clear
            step = np.array(DIRECTIONS[lane])
            taken += [(xy + step * distance, 0.03) for distance in (-0.05, 0.05, 0.1)]
        objects.append(
            ObjectSpec(
                name=f"{colour} {shape}",
                shape=shape,
                colour=colour,
                half_size=half,
                xy=(float(xy[0]), float(xy[1])),
                yaw=float(rng.uniform(-math.pi, math.pi)),
            )
        )
    return tuple(objects), tuple(bowls)


def _free_spot(
    rng: Generator,
    taken: list[tuple[NDArray[np.float64], float]],
    radius: float,
    reach: tuple[float, float],
    lane: str | None = None,
) -> NDArray[np.float64] | None:
    for _ in range(60):
        distance = math.sqrt(rng.uniform(reach[0] ** 2, reach[1] ** 2))
        bearing = rng.uniform(-BEARING, BEARING)
        xy = np.array([SHOULDER_X + distance * math.cos(bearing), distance * math.sin(bearing)])
        if lane is not None and not lane_is_reachable(xy, lane):
            continue
        if all(np.hypot(*(xy - other)) > radius + size + 0.018 for other, size in taken):
            return xy
    return None


def lane_is_reachable(xy: NDArray[np.float64], lane: str) -> bool:
    """Whether the arm can push something at `xy` (2,) [m] along a direction."""
    step = np.array(DIRECTIONS[lane])
    for distance in (-0.055, 0.075):
        point = xy + step * distance - np.array([SHOULDER_X, 0.0])
        if not (0.12 <= np.hypot(*point) <= 0.25 and abs(math.atan2(point[1], point[0])) <= 1.2):
            return False
    return True


#: Where an episode starts [rad]: the arm drawn back above the table, the gripper open.
HOME = np.array([0.0, -0.95, 0.5, 1.5, 0.0, 0.9])


def sample_start(rng: Generator) -> NDArray[np.float64]:
    """Draw where the arm stands at the start (6,) [rad]."""
    spread = np.array([0.6, 0.2, 0.2, 0.12, 0.05, 0.3])
    return np.asarray(HOME + rng.uniform(-1, 1, 6) * spread)
