"""A process that records images until it is killed.

python -m vla_ros.testing.recording_process FOLDER

Says "ready" once an earlier episode is complete and the next one has begun.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from vla_ros.contract import find_contract, load_contract
from vla_ros.data.recording.recorder import Recorder
from vla_ros.data.recording.settings import RecorderSettings
from vla_ros.testing.recorded_messages import image, topics

PERIOD_S = 0.005


def main() -> None:
    """Record."""
    settings = RecorderSettings(
        folder=Path(sys.argv[1]),
        contract=load_contract("tabletop_sim"),
        contract_text=find_contract("tabletop_sim").read_bytes(),
        file_bytes=1_000_000,
    )
    recorder = Recorder(settings, time.time_ns)
    for spec in topics():
        recorder.add_topic(spec)
    recorder.begin("an earlier one").result()
    for number in range(20):
        recorder.receive(image(number, time.time_ns()))
    recorder.end().result()
    recorder.begin("the one that is cut off").result()
    print("ready", flush=True)
    pictures = [image(number) for number in range(50)]
    number = 0
    while True:
        now_ns = time.time_ns()
        recorder.receive(pictures[number % 50]._replace(log_ns=now_ns, sequence=number))
        number += 1
        time.sleep(PERIOD_S)  # the rate of what is recorded


if __name__ == "__main__":
    main()
