"""Films episodes, as the policy saw them: front and wrist camera side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from vla_ros.core.types import Observation, UInt8Array
from vla_ros.evaluation.deprivation import open_policy
from vla_ros.evaluation.disturbance import DisturbedEnvironment
from vla_ros.evaluation.episode import OnStep, run_episode
from vla_ros.evaluation.report import Report
from vla_ros.sim.environment import STEP_S
from vla_ros.sim.tabletop import IMAGE_SIZE

ENLARGED = 3  # times; the cameras have 128 x 128 pixels


def film_failures(bundle: Path, report: Report, directory: Path) -> Iterator[Path]:
    """Play the failed episodes again and yield the video of each.

    Args:
        bundle: Directory of the policy.
        report: Of an evaluation of it.
        directory: Where the videos go, as SEED-SKILL.mp4; made if it is not there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    plan = report.plan
    environment = DisturbedEnvironment(plan.disturbances())
    policy = open_policy(bundle, plan.lost(), adaptive=plan.adaptive, backend=plan.backend)
    for result in report.results:
        if result.success:
            continue
        frames: list[UInt8Array] = []

        run_episode(
            environment,
            policy,
            plan.scene(result.index),
            instruction=result.instruction,
            on_step=_into(frames),
            limit_s=plan.limit_s,
        )
        if not frames:  # the policy has refused its instruction
            continue
        path = directory / f"{result.seed}-{result.skill}.mp4"
        imageio.imwrite(path, np.stack(frames), fps=round(1 / STEP_S), macro_block_size=1)
        yield path
    environment.close()


def _into(frames: list[UInt8Array]) -> OnStep:
    return lambda observation, progress: frames.append(_frame(observation, progress))


def _frame(observation: Observation, progress: float) -> UInt8Array:
    """Both images, enlarged, with the policy's progress as a bar at the bottom; missing: black."""
    black = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    images = [observation.images.get(name, black) for name in ("front", "wrist")]
    both = np.concatenate(images, axis=1)
    large = both.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    large[-6:, : round(progress * large.shape[1])] = (40, 200, 80)
    return large
