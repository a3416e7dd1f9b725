"""Runs one function over many episodes: in processes of this machine, or on a Ray cluster.

    for done in map_episodes(check, episode_sources(recording), journal=output / "journal.jsonl"):
        print(done.source, done.error or done.value)

The function is given an episode's folder. What it raises is kept beside the others' results; what
kills its process is, too. With a journal, what was finished is not done again.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from vla_ros.core.errors import UserError
from vla_ros.data.journal import Journal
from vla_ros.data.storage import Source, fingerprint, local_copy

Value = TypeVar("Value")
Work = Callable[[Path], Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processed(Generic[Value]):
    """What became of one episode.

    Attributes:
        source: Folder or URL of the episode, as it was given.
        value: What the function returned; None if it failed.
        error: Why it failed, in words; "" if it did not.
        resumed: Whether this was finished by an earlier run and comes from the journal.
    """

    source: str
    value: Value | None = None
    error: str = ""
    resumed: bool = False


def map_episodes(
    function: Work[Value],
    sources: Iterable[Source],
    *,
    workers: int = 0,
    ray_address: str | None = None,
    journal: Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Processed[Value]]:
    """Run a function over episodes; yield what becomes of each, as it is finished.

    Args:
        function: Is given the folder of an episode (of a URL: a copy, removed afterwards). Other
            processes import it: a function of a module, or a `functools.partial` of one, with
            arguments that can be pickled.
        sources: Folders or URLs of episodes.
        workers: How many processes; 0 for one per core, 1 for none but this one.
        ray_address: None for processes of this machine; `local` for a Ray that is started on it;
            else the address of a Ray cluster (`auto`, `ray://head:10001`), whose machines must
            have this package and see the sources.
        journal: File that keeps what is finished: another run with it goes on. Values must then
            be JSON. What failed, or has changed on the disk, is done again.
        settings: Of the function, as JSON: a journal of other settings is refused.

    Raises:
        UserError: if the journal is of other settings, Ray is asked for and not there, or
            `workers` is negative.
    """
    if workers < 0:
        raise UserError(f"workers is {workers}; expected 0 (one per core) or more")
    items = [str(source) for source in sources]
    kept = Journal(journal, settings or {}) if journal is not None else None
    todo, marks = [], {}
    for item in items:
        marks[item] = mark = fingerprint(item) if kept is not None else ""
        if kept is not None and kept.holds(item, mark):
            yield Processed(source=item, value=kept.value(item), resumed=True)
        else:
            todo.append(item)
    for result in _run(function, todo, workers, ray_address):
        if kept is not None and not result.error:
            kept.add(result.source, marks[result.source], result.value)
        yield result


def process_one(function: Work[Value], source: str) -> Processed[Value]:
    """Run the function on one episode, in this process; what it raises is part of the result."""
    try:
        with local_copy(source) as folder:
            return Processed(source=source, value=function(folder))
    except UserError as error:
        return Processed(source=source, error=str(error))
    except Exception as error:  # noqa: BLE001 the others go on, and this is told
        return Processed(source=source, error=f"{type(error).__name__}: {error}")


def _run(
    function: Work[Value], items: Sequence[str], workers: int, ray_address: str | None
) -> Iterator[Processed[Value]]:
    if not items:
        return
    if ray_address is not None:
        from vla_ros.data.ray_parallel import run_on_ray

        yield from run_on_ray(function, items, workers, ray_address)
        return
    count = min(workers or len(os.sched_getaffinity(0)), len(items))
    if count == 1:
        yield from (process_one(function, item) for item in items)
    else:
        yield from _run_in_processes(function, items, count)


def _run_in_processes(
    function: Work[Value], items: Sequence[str], count: int
) -> Iterator[Processed[Value]]:
    """Run in `count` processes, no more items at a time: a death then casts doubt on few.

    A process that dies breaks the pool, and nothing tells whose item killed it: those that were
    under way are done again, each alone.
    """
    waiting = list(reversed(items))
    while waiting:
        pool, running = _pool(count), dict[Future[Processed[Value]], str]()
        suspects: list[str] = []
        try:
            while (waiting or running) and not suspects:
                while waiting and len(running) < count:
                    item = waiting.pop()
                    running[pool.submit(process_one, function, item)] = item
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    item = running.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        suspects.append(item)
                    else:
                        yield result
            suspects += running.values()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for item in suspects:
            yield _run_alone(function, item)


def _run_alone(function: Work[Value], item: str) -> Processed[Value]:
    with _pool(1) as pool:
        try:
            return pool.submit(process_one, function, item).result()
        except BrokenProcessPool:
            return Processed(
                source=item, error="its process was killed: out of memory, or a crash in a library"
            )


def _pool(count: int) -> ProcessPoolExecutor:
    # A forked process would inherit the locks of threads and the contexts of renderers.
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))
