"""Runs where LeRobot is installed: writes a dataset with its writer, reads two with its class.

    python lerobot_process.py RECORDING OURS THEIRS OUTPUT.npz PATH...

PATH are folders of packages that LeRobot's environment may lack: this one's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Do both, and leave every item of both datasets in OUTPUT."""
    recording, ours, theirs, output, *paths = sys.argv[1:]
    sys.path += paths  # behind LeRobot's own packages
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from vla_ros.contract import load_contract
    from vla_ros.data.lerobot.conversion import convert
    from vla_ros.data.lerobot.features import DatasetFeatures
    from vla_ros.data.lerobot.staging import Conversion

    contract = load_contract(Path(recording) / "episode_000000/contract.yaml")
    features = DatasetFeatures(contract=contract)
    report = convert([recording], Path(theirs), Conversion(features=features, codec="h264"))
    assert report.writer == "lerobot", "it is installed, so `auto` takes it"
    found: dict[str, Any] = {}
    for name, root in (("ours", ours), ("theirs", theirs)):
        dataset = LeRobotDataset("local/dataset", root=root)
        items = [dataset[index] for index in range(len(dataset))]
        for key in items[0]:
            values = [item[key] for item in items]
            found[f"{name}/{key}"] = np.array([np.asarray(value) for value in values])
        chunks = LeRobotDataset(
            "local/dataset", root=root, delta_timestamps={"action": [0.0, 1 / 30, 2 / 30]}
        )
        rows = [np.asarray(chunks[index]["action"]) for index in range(len(items))]
        found[f"{name}/chunks"] = np.array(rows)
        found[f"{name}/std"] = dataset.meta.stats["observation.state"]["std"]
        found[f"{name}/episodes"] = [episode["length"] for episode in dataset.meta.episodes]
    np.savez(output, **found)


if __name__ == "__main__":
    main()
