"""What is around the model: from sensor messages to network input, from network output to command.

python bench/stages.py [--ticks 400] [--images 640x480] [--json PATH] [--check]

Two RGB-D cameras, IMU and joints, as in the tabletop contract but with larger images, which are
cut and scaled to the bundle's. Real messages go through the real callbacks, aligner, policy,
publisher and gate; the model's own time and the executor's are told apart.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))

from vla_ros.cli.measurement import conclude
from vla_ros.cli.path_measurement import PathOptions, measure_path, read_size
from vla_ros.core.resources import resource_path

COMMAND = "bench/engine.py --stages"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """What is measured.

    Attributes:
        bundle: Directory of the policy.
        backend: Engine that runs its graphs.
        threads: CPU threads of an inference.
        images: Width and height of the cameras' images [px].
        ticks: Frames that are measured, after those that warm up.
    """

    bundle: Path | None = None
    backend: str = "onnxruntime"
    threads: int = 1
    images: tuple[int, int] = (640, 480)
    ticks: int = 400


def main() -> int:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=int, default=StageOptions().ticks, help="frames measured")
    parser.add_argument("--images", default="640x480", help="size of the cameras' images")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    options = StageOptions(ticks=arguments.ticks, images=read_size(arguments.images))
    results = run_stages(options)
    return conclude(COMMAND, results, json_path=arguments.json, check=arguments.check)


def run_stages(options: StageOptions | None = None) -> dict[str, Any]:
    """Return the time of each stage [ms], and what the musts are about: `overhead`.

    Raises:
        UserError: if the path cannot be run; says why.
    """
    options = options or StageOptions()
    return measure_path(
        PathOptions(
            bundle=options.bundle or resource_path("models/tabletop-small"),
            backend=options.backend,
            threads=options.threads,
            images=options.images,
            ticks=options.ticks,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
