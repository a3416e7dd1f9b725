"""Recordings to a dataset with LeRobot's own writer, where LeRobot is installed.

It writes one episode after the other into files that are not readable before the end: a run that
is stopped begins again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.contract import IMAGES
from vla_ros.core.errors import UserError
from vla_ros.data.bad_recordings import FrameChecks
from vla_ros.data.episode import Outcome
from vla_ros.data.frames import RecordedEpisode
from vla_ros.data.lerobot.conversion import (
    BUILT,
    WORK,
    ConversionReport,
    move_in,
    origin_of,
    refusal,
    require_some,
)
from vla_ros.data.lerobot.features import ACTOR, ACTORS, COUNTERS, DONE, INTERVENTION, SUCCESS
from vla_ros.data.lerobot.layout import ORIGIN
from vla_ros.data.lerobot.staging import Conversion, good_frames, open_for
from vla_ros.data.parallel import Processed
from vla_ros.data.storage import local_copy

OnEpisode = Callable[[Processed[dict[str, Any]], int], None]


def convert_with_lerobot(
    sources: Sequence[str],
    output: Path,
    conversion: Conversion,
    settings: dict[str, Any],
    *,
    bad: str,
    on_episode: OnEpisode | None,
) -> ConversionReport:
    """Convert with `LeRobotDataset.create`, `add_frame` and `save_episode`.

    Raises:
        UserError: if an episode is bad and is not to be skipped, or none is good.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features, built = conversion.features, output / WORK / BUILT
    shutil.rmtree(built, ignore_errors=True)
    built.parent.mkdir(parents=True, exist_ok=True)
    described = {
        name: {**value, "shape": tuple(value["shape"])}
        for name, value in features.describe().items()
        if name not in COUNTERS
    }
    dataset = LeRobotDataset.create(
        repo_id=f"local/{output.name}",
        fps=features.fps,
        features=described,
        root=built,
        robot_type=features.contract.name,
        use_videos=bool(features.videos),
        vcodec=conversion.codec,
    )
    good, skipped, leading = list[int](), dict[str, str](), 0
    for source in sources:
        try:
            with local_copy(source) as folder:
                rows, length, dropped = _rows(folder, conversion)
                for row in rows:
                    dataset.add_frame(row)
                _make_scalar(dataset.episode_buffer, described)
                dataset.save_episode()
        except UserError as error:
            result: Processed[dict[str, Any]] = Processed(source=source, error=str(error))
            if bad == "refuse":
                raise UserError(refusal(result)) from error
            skipped[source] = result.error
        else:
            good.append(length)
            leading += dropped
            result = Processed(source=source, value={"length": length})
        if on_episode is not None:
            on_episode(result, len(sources))
    dataset.finalize()
    require_some(good, skipped)
    origin = {**origin_of(settings, skipped), "contract": features.contract.to_dict()}
    (built / ORIGIN).write_text(json.dumps(origin, indent=4, ensure_ascii=False), "utf-8")
    move_in(built, output)
    shutil.rmtree(output / WORK)
    return ConversionReport(
        episodes=len(good),
        frames=sum(good),
        leading=leading,
        resumed=0,
        skipped=skipped,
        writer="lerobot",
    )


def _make_scalar(buffer: dict[str, Any], features: dict[str, dict[str, Any]]) -> None:
    """Make numbers of an episode's arrays of one number.

    LeRobot 0.4.4 asks for such arrays, and then converts them in a way that numpy 2.4 refuses.
    """
    for name, feature in features.items():
        if feature["shape"] == (1,):
            buffer[name] = [each.reshape(()) for each in buffer[name]]


def _rows(folder: Path, conversion: Conversion) -> tuple[Iterator[dict[str, Any]], int, int]:
    """Return an episode's rows as LeRobot takes them, how many, and how many were left out.

    The episode is gone through twice: LeRobot cannot take back half an episode, and all images of
    a long one may not fit into memory.

    Raises:
        BadRecording: if it cannot be converted.
    """
    episode = open_for(folder, conversion.features.contract)
    checks = FrameChecks(episode, conversion.features.missing)
    length = sum(1 for _ in good_frames(episode, conversion, checks))
    return _generate(episode, conversion, length), length, checks.leading


def _generate(
    episode: RecordedEpisode, conversion: Conversion, length: int
) -> Iterator[dict[str, Any]]:
    features = conversion.features
    success = episode.info.outcome is Outcome.SUCCESS
    helped = any(actor == "policy" for _, actor in episode.index.actors)
    frames = good_frames(episode, conversion, FrameChecks(episode, features.missing))
    for index, (frame, task) in enumerate(frames):
        row: dict[str, Any] = features.row(frame)
        ends = index == length - 1
        row[DONE], row[SUCCESS] = np.array([ends]), np.array([ends and success])
        row[INTERVENTION] = np.array([helped and row[ACTOR][0] == ACTORS["operator"]])
        for feature in features.images:
            row[feature] = np.array(frame.observation.images[feature.removeprefix(IMAGES)])
        yield row | {"task": task}
