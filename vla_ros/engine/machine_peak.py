"""What the machine can do at best: a matrix product and a memory copy, measured.

It runs in a process of its own, since the threads of numpy's BLAS are fixed when it is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from vla_ros.core.errors import EngineError

#: Side of the matrices, bytes that are copied by each thread, and how often each is done.
SIDE, COPIED, REPEATS = 1024, 64 * 2**20, 40
LONGEST_S = 120.0
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePeak:
    """The best of several tries.

    Attributes:
        threads: Threads that were used.
        flops_per_s: Of a product of float32 matrices.
        bytes_per_s: Read and written by a copy.
    """

    threads: int
    flops_per_s: float
    bytes_per_s: float


def measure_peak(threads: int) -> MachinePeak:
    """Measure with so many threads; takes about a second.

    Raises:
        EngineError: if the process that measures fails.
    """
    environment = os.environ | dict.fromkeys(VARIABLES, str(threads))
    command = [sys.executable, "-m", __name__, str(threads)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"the machine's peak took longer than {LONGEST_S:g} s") from error
    except subprocess.CalledProcessError as error:
        raise EngineError(f"the machine's peak cannot be measured: {error.stderr}") from error
    return MachinePeak(**json.loads(done.stdout.splitlines()[-1]))


def main(threads: int) -> None:
    """Measure in this process and print the result as JSON."""
    rng = np.random.default_rng(0)
    left, right = (rng.random((SIDE, SIDE), np.float32) for _ in range(2))
    product = np.empty_like(left)
    product_s = _best(lambda: np.matmul(left, right, out=product))
    pairs = [(np.ones(COPIED, np.uint8), np.ones(COPIED, np.uint8)) for _ in range(threads)]
    copy_s = _best(lambda: _at_once([partial(np.copyto, *pair) for pair in pairs]))
    values = {
        "threads": threads,
        "flops_per_s": 2 * SIDE**3 / product_s,
        "bytes_per_s": 2 * COPIED * threads / copy_s,
    }
    print(json.dumps(values))


def _best(work: Callable[[], object]) -> float:
    durations = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        durations.append(time.perf_counter() - began)
    return min(durations)


def _at_once(jobs: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs[1:]]
    for thread in threads:
        thread.start()
    jobs[0]()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]))
