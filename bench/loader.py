"""Samples a second for training: ours against LeRobot's own dataset class, on the same data.

python bench/loader.py --make DIR
python bench/loader.py --data DIR [--json PATH] [--check]

The first runs in this package's environment; the second in that of requirements/lerobot.txt, with
requirements/data.txt and torchcodec installed beside it (pip install --no-deps), and FFmpeg, by
which torchcodec decodes.

--make records simulated episodes and converts them to a LeRobotDataset with videos, as LeRobot
encodes them, with `vla_ros data convert`; depth and IMU are left out of it, since LeRobot reads
nested lists number by number, and that is not what is compared. Then three loaders take turns:
`LeRobotDataset` in a torch DataLoader, as people train with it, decoding with torchcodec; ours
from the very same dataset; and ours from the recordings that it was made of. All give shuffled
batches of the same size from as many worker processes: both cameras, the joint state, and a chunk
of the actions that follow (LeRobot's `delta_timestamps`). Ours are turned into LeRobot's form,
float32 from 0 to 1 with channels first, before they count. What the loaders had ready when their
turn began does not count.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vla_ros.cli.measurement import conclude
from vla_ros.data.loading.batches import SampleDataset, load_batches
from vla_ros.data.loading.lerobot import LeRobotSamples
from vla_ros.data.loading.recordings import RecordedSamples
from vla_ros.data.loading.sample import Asked, SampleSource

COMMAND = "bench/loader.py"
RECORDINGS, DATASET = "recordings", "dataset"
CAMERAS = ("observation.images.front", "observation.images.wrist")
NAMES = (*CAMERAS, "observation.state", "action")
HORIZON = 16
FIRST_SEED = 930_000_000
#: Samples whose values are compared.
COMPARED = 64

Batches = Iterator[Mapping[str, Any]]


def main() -> int:
    """Make the data, or measure, print, write, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--make", type=Path, help="folder to make the data in")
    add("--episodes", type=int, default=40, help="that --make records")
    add("--size", type=int, default=128, help="of the images that --make records [px]")
    add("--data", type=Path, help="folder that --make made")
    add("--batch", type=int, default=64, help="samples of a batch")
    add("--workers", type=int, default=2, help="processes of each loader")
    add("--rounds", type=int, default=4, help="turns of each loader")
    add("--seconds", type=float, default=5.0, help="of a turn")
    add("--json", type=Path, help="write the results here")
    add("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    if arguments.make is not None:
        _make(arguments.make, arguments.episodes, arguments.size)
        return 0
    if arguments.data is None:
        parser.error("give --data, a folder that --make made")
    results = _measure(arguments)
    return conclude(
        COMMAND,
        results,
        json_path=arguments.json,
        check=arguments.check,
        table=_table(results),
    )


def _make(folder: Path, episodes: int, size: int) -> None:
    """Record and convert."""
    from vla_ros.contract import find_contract, load_contract
    from vla_ros.data.lerobot.conversion import convert
    from vla_ros.data.lerobot.features import DatasetFeatures
    from vla_ros.data.lerobot.staging import Conversion
    from vla_ros.testing.recordings import record_simulated

    folder.mkdir(parents=True)
    name = folder / "contract.yaml"
    text = find_contract("tabletop_sim").read_text("utf-8")
    for key in ("width", "height"):
        text = text.replace(f"{key}: 128", f"{key}: {size}")
    name.write_text(text.replace("urdf: urdf/", f"urdf: {Path.cwd()}/urdf/"), "utf-8")
    seeds = range(FIRST_SEED, FIRST_SEED + episodes)
    record_simulated(folder / RECORDINGS, seeds, contract=str(name), image_size=size)
    features = DatasetFeatures(
        contract=load_contract(str(name)),
        without=("observation.depth.front", "observation.depth.wrist", "observation.imu"),
    )
    convert([str(folder / RECORDINGS)], folder / DATASET, Conversion(features=features))


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return samples a second of each loader."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    # LeRobot's environment alone has it
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    torch.set_num_threads(1)
    data, batch, workers = arguments.data, arguments.batch, arguments.workers
    asked = Asked(depth=False, imu=False, horizon=HORIZON)
    sources: dict[str, SampleSource] = {
        "from the dataset": LeRobotSamples(data / DATASET, asked),
        "from the recordings": RecordedSamples([data / RECORDINGS], asked, cache=data / "index"),
    }
    fps = LeRobotSamples(data / DATASET, asked).fps
    theirs = LeRobotDataset(
        "bench/loader",
        root=data / DATASET,
        delta_timestamps={"action": [row / fps for row in range(HORIZON)]},
    )
    loaders: dict[str, Batches] = {
        "LeRobotDataset": _endless(
            torch.utils.data.DataLoader(
                theirs,
                batch_size=batch,
                shuffle=True,
                num_workers=workers,
                persistent_workers=True,
                generator=torch.Generator().manual_seed(0),
            )
        )
    }
    loaders |= {name: _ours(source, batch, workers) for name, source in sources.items()}
    rates = _take_turns(loaders, arguments)
    their_rate = float(np.median(rates["LeRobotDataset"]))
    rows = {
        name: {
            "samples_per_s": float(np.median(found)),
            "lowest": min(found),
            "highest": max(found),
            "times_faster": float(np.median(found)) / their_rate,
        }
        for name, found in rates.items()
    }
    # after the workers were started: they would share this process's open videos otherwise
    apart = _compare(theirs, sources["from the dataset"])
    shape = list(next(iter(sources["from the dataset"].features.values())).shape)
    return {
        "rows": rows,
        "dataset_times_faster": rows["from the dataset"]["times_faster"],
        "recordings_times_faster": rows["from the recordings"]["times_faster"],
        **apart,
        "image": shape,
        "samples": len(theirs),
        "video_backend": theirs.video_backend,
        **{name: getattr(arguments, name) for name in ("batch", "workers", "rounds")},
        "versions": {"torch": torch.__version__},
    }


def _compare(theirs: Any, ours: SampleSource) -> dict[str, float]:
    """Return the largest difference of pixels [levels], and of numbers, in some samples."""
    dataset, rng = SampleDataset(ours), np.random.default_rng(0)
    pixels = numbers = 0.0
    for index in rng.integers(len(theirs), size=COMPARED).tolist():
        one, other = theirs[index], dataset[index]
        for name in CAMERAS:
            image = (one[name] * 255).round().permute(1, 2, 0).numpy()
            pixels = max(pixels, float(np.abs(image - other[name]).max()))
        for name in ("observation.state", "action", "action_is_pad"):
            found = np.asarray(one[name].numpy(), float) - np.asarray(other[name], float)
            numbers = max(numbers, float(np.abs(found).max()))
    return {"pixels_apart": pixels, "numbers_apart": numbers}


def _ours(source: SampleSource, batch: int, workers: int) -> Batches:
    """Yield our batches in LeRobot's form."""
    for found in _endless(load_batches(source, batch, workers=workers)):
        images = {name: found[name].permute(0, 3, 1, 2).contiguous() for name in CAMERAS}
        yield {**found, **{k: value.to(torch.float32).div_(255) for k, value in images.items()}}


def _endless(loader: Any) -> Batches:
    while True:
        yield from loader


def _take_turns(
    loaders: Mapping[str, Batches], arguments: argparse.Namespace
) -> dict[str, list[float]]:
    """Return samples a second of each turn of each loader."""
    ready = 2 * arguments.workers  # a DataLoader's own prefetch_factor
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    console = Console(stderr=True, highlight=False)
    for turn in range(arguments.rounds):
        for name, batches in loaders.items():
            for _ in islice(batches, ready):
                pass
            began, count = time.perf_counter(), 0
            while time.perf_counter() - began < arguments.seconds:
                count += _size(next(batches))
            rates[name].append(count / (time.perf_counter() - began))
            console.print(f"turn {turn + 1}, {name}: {rates[name][-1]:.0f} samples/s")
    return rates


def _size(batch: Mapping[str, Any]) -> int:
    """Return how many samples a batch has, once everything in it is there."""
    images = batch[CAMERAS[0]]
    assert all(name in batch for name in NAMES)
    assert images.dtype == torch.float32
    return len(images)


def _table(results: Mapping[str, Any]) -> Table:
    table = Table(
        *("loader", "samples/s", "lowest", "highest", "x"),
        title=f"{COMMAND}: two cameras of {results['image'][1]}x{results['image'][0]}",
        title_justify="left",
    )
    for name, row in results["rows"].items():
        table.add_row(
            name,
            *(f"{row[key]:.0f}" for key in ("samples_per_s", "lowest", "highest")),
            f"{row['times_faster']:.1f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
