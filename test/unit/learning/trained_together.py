"""What `test_process_group.py` lets two processes do; it reads what they wrote.

python trained_together.py FOLDER DEMONSTRATIONS LANGUAGE
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from vla_ros.learning import process_launch
from vla_ros.learning.process_launch import run_processes
from vla_ros.learning.training_config import TrainingConfig

PROCESSES = 2


def main() -> None:
    folder, data, language = map(Path, sys.argv[1:])
    config = TrainingConfig(
        data=(data,),
        output=folder / "through",
        language=language,
        steps=3,
        images=3,
        sentences_per_image=2,
        episodes=3,
        states_per_episode=2,
        texts=9,
        sentences=100,
        checkpoint_every=1,
        processes=PROCESSES,
        threads=1,
    )
    statuses = {"together": run_processes(PROCESSES, train_together, config)}
    process_launch.GRACE_S = 0.2
    statuses["one_fails"] = run_processes(PROCESSES, fail_in_one, 3)
    (folder / "statuses.json").write_text(json.dumps(statuses))


def fail_in_one(status: int) -> int:
    """Fail in one process, while the other would wait for it for ever."""
    if os.environ["RANK"] == "0":
        Event().wait()
    return status


def train_together(config: TrainingConfig) -> int:
    """Train to the end, stop and go on, meet NaN; write what this process saw."""
    import numpy as np
    import torch

    from vla_ros.core.errors import UserError
    from vla_ros.learning.recipes import tabletop_small
    from vla_ros.learning.training import NonFiniteLoss, Trainer

    torch.set_num_threads(1)
    policy = tabletop_small()
    through = Trainer(config, policy)
    seen: dict[str, Any] = {
        "device": through.group.device.type,
        "shares": [through.group.share(rows) for rows in (3, 9)],
        "losses": list(through.run()),
        "weights": digest(through),
        "average": digest(through, average=True),
    }
    share = through._losses()  # this process's alone
    seen["own"] = {key: float(value.detach()) for key, (value, _) in share.items()}

    halves = replace(config, output=beside(config, "halves"))
    next(Trainer(halves, policy).run())
    resumed = Trainer(halves, policy)
    seen["resumed_at"] = resumed.step
    seen["resumed_losses"] = list(resumed.run())
    seen["resumed_weights"], seen["resumed_average"] = digest(resumed), digest(resumed, True)

    broken = Trainer(replace(config, output=beside(config, "broken")), policy)
    losses = broken.run()
    next(losses)
    if broken.group.rank == 1:
        broken.data.states["chunk"] = np.full_like(broken.data.states["chunk"], np.nan)
    try:
        next(losses)
    except NonFiniteLoss as error:
        seen["said"] = str(error)
    try:
        broken.group.require_same("the step", broken.group.rank)
    except UserError as error:
        seen["disagreed"] = str(error)
    seen["anybody"] = [broken.group.any_of(broken.group.rank == 1), broken.group.any_of(False)]
    file = config.output.parent / f"seen-{broken.group.rank}.json"
    file.write_text(json.dumps(seen))
    broken.group.close()
    return 0


def beside(config: TrainingConfig, name: str) -> Path:
    return config.output.with_name(name)


def digest(trainer: Any, average: bool = False) -> str:
    """Return a hash of everything that is learned, or of its running average."""
    values = trainer.average if average else trainer.networks.state_dict()
    learned = {key for key, _ in trainer.networks.named_parameters()}
    made = hashlib.sha256()
    for key in sorted(learned):
        made.update(values[key].detach().numpy().tobytes())
    return made.hexdigest()


if __name__ == "__main__":
    main()
