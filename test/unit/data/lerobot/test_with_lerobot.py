"""LeRobot's own class opens what our writer made, and finds in it what its own writer makes.

LeRobot lives in an environment of its own (requirements/lerobot.txt): LEROBOT_PYTHON names its
Python, if it is not this one.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.contract import load_contract
from vla_ros.data.episode import CONTRACT
from vla_ros.data.lerobot.conversion import convert
from vla_ros.data.lerobot.features import DatasetFeatures
from vla_ros.data.lerobot.reader import LeRobotReader
from vla_ros.data.lerobot.staging import Conversion
from vla_ros.testing.small_recordings import SmallEpisode, write_small_recording

HERE = Path(__file__)
INSTALLED = importlib.util.find_spec("lerobot") is not None
PYTHON = os.environ.get("LEROBOT_PYTHON", sys.executable if INSTALLED else "")

pytestmark = [
    pytest.mark.skipif(
        not PYTHON, reason="needs LeRobot: LEROBOT_PYTHON names the Python that has it"
    ),
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lerobot")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """What LeRobot reads, in our dataset and in its own."""
    recording, ours = folder / "recording", folder / "ours"
    episodes = [
        SmallEpisode(seed=0, actors=((0.0, "policy"), (0.5, "operator"))),
        SmallEpisode(seed=1, length_s=0.7, instruction="open the drawer"),
    ]
    first, *_ = write_small_recording(recording, episodes)
    features = DatasetFeatures(contract=load_contract(first / CONTRACT))
    convert([recording], ours, Conversion(features=features, codec="h264"), writer="own")
    command = [PYTHON, str(HERE.with_name("lerobot_process.py"))]
    paths = [str(HERE.parents[4]), sysconfig.get_path("purelib")]
    arguments = [str(recording), str(ours), str(folder / "theirs"), str(folder / "found.npz")]
    done = subprocess.run(
        [*command, *arguments, *paths], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "found.npz") as values:
        return dict(values)


def test_every_value_stamp_and_pixel_is_that_of_lerobots_own_writer(
    found: dict[str, Any],
) -> None:
    names = [name.removeprefix("ours/") for name in found if name.startswith("ours/")]
    assert {"observation.images.front", "observation.depth.wrist", "observation.imu"} <= set(names)
    assert {"action", "timestamp", "task", "chunks", "episodes"} <= set(names)
    for name in set(names) - {"std"}:
        ours, theirs = found[f"ours/{name}"], found[f"theirs/{name}"]
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    # LeRobot takes the difference of two means in 32 bits
    np.testing.assert_allclose(found["ours/std"], found["theirs/std"], rtol=1e-2)


def test_our_reader_reads_both_as_lerobot_does(folder: Path, found: dict[str, Any]) -> None:
    for name in ("ours", "theirs"):
        reader = LeRobotReader(folder / name)
        rows = [row for number in range(len(reader.episodes)) for row in reader.rows(number)]
        assert len(rows) == len(found[f"{name}/index"])
        for at, row in enumerate(rows):
            assert row["task"] == found[f"{name}/task"][at]
            for feature in ("observation.state", "action", "observation.imu"):
                np.testing.assert_array_equal(row[feature], found[f"{name}/{feature}"][at])
            depth = found[f"{name}/observation.depth.front"][at]
            np.testing.assert_array_equal(np.rint(1000 * row["observation.depth.front"]), depth)
            image = found[f"{name}/observation.images.front"][at].transpose(1, 2, 0)
            far = np.abs(row["observation.images.front"] / 255.0 - image)
            assert far.max() <= 3.001 / 255.0, (
                "two builds of FFmpeg convert colours a little apart"
            )
