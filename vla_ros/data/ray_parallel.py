"""Runs a function over many episodes with Ray Data, on this machine or a cluster."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vla_ros.core.errors import UserError
from vla_ros.data.parallel import Processed, process_one

Value = TypeVar("Value")

#: The address that starts a Ray on this machine, and ends it with the work.
LOCAL = "local"


def run_on_ray(
    function: Callable[[Path], Value], items: Sequence[str], workers: int, address: str
) -> Iterator[Processed[Value]]:
    """Run a function over episodes; yield what becomes of each, as it is finished.

    Every episode is a block of its own, so that they come one by one and are spread evenly. What
    kills its process is tried again by Ray, and if that fails told; the others go on.

    Args:
        function: Is given the folder of an episode; can be pickled.
        items: Folders or URLs, which the cluster's machines see under these names.
        workers: How many episodes at a time at most; 0 for as many as the cluster has cores.
        address: `local`, or of a cluster.

    Raises:
        UserError: if Ray Data is not installed, or no cluster answers.
    """
    ray = _connect(address, workers)
    try:
        context = ray.data.DataContext.get_current()
        context.max_errored_blocks = -1  # none of the others is lost with one
        context.enable_progress_bars = False
        # What it logs of a lost block is told by the results.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        rows = [{"item": item} for item in items]
        data = ray.data.from_items(rows, override_num_blocks=len(items))
        data = data.map(
            partial(_row, function=function),
            compute=ray.data.TaskPoolStrategy(size=workers or None),
            max_retries=1,  # Ray Data's own number is endless
        )
        missing = dict.fromkeys(items)
        for row in data.iter_rows():
            result: Processed[Value] = pickle.loads(row["result"])  # made by `_row`
            missing.pop(result.source)
            yield result
    finally:
        if address == LOCAL:
            ray.shutdown()
    for item in missing:
        yield Processed(
            source=item, error="its process was killed: out of memory, or a crash in a library"
        )


def _row(row: dict[str, Any], function: Callable[[Path], Any]) -> dict[str, Any]:
    return {"result": pickle.dumps(process_one(function, row["item"]))}


def _connect(address: str, workers: int) -> Any:
    """Return Ray, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(
            f"working with Ray needs the package '{error.name}': pip install 'vla_ros[scale]', or "
            "leave --ray-address out to work in processes of this machine"
        ) from error
    if ray.is_initialized():
        return ray
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        # Ray counts the machine's cores, this process may have been given fewer.
        cores = workers or len(os.sched_getaffinity(0))
        ray.init(address=LOCAL, num_cpus=cores, include_dashboard=False, **quiet)
        return ray
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError) as error:
        raise UserError(
            f"--ray-address {address}: no Ray cluster answers: {error}. Start one with `ray start "
            "--head`, or leave the option out to work on this machine"
        ) from error
    return ray
