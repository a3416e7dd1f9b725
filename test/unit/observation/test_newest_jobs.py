"""Work done aside: the newest of each name, never a queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from vla_ros.observation.newest_jobs import NewestJobs
from vla_ros.testing.waiting import wait_for


class Errors:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def __call__(self, name: str, error: Exception) -> None:
        self.said.append((name, str(error)))


@pytest.fixture
def errors() -> Errors:
    return Errors()


@pytest.fixture
def jobs(errors: Errors) -> Iterator[NewestJobs]:
    made = NewestJobs("test", 2, errors)
    yield made
    made.close()


def test_of_the_jobs_that_wait_under_a_name_only_the_newest_is_done(jobs: NewestJobs) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), list[int]()

    def slow() -> None:
        begun.set()
        assert go_on.wait(15.0)
        done.append(0)

    jobs.submit("front", slow)
    assert begun.wait(15.0)
    for index in range(1, 6):
        jobs.submit("front", partial(done.append, index))
    go_on.set()
    wait_for(lambda: len(done) == 2, "the newest job")
    assert done == [0, 5], "in order, and without those between"
    assert jobs.replaced["front"] == 4


def test_a_slow_job_holds_up_neither_another_name_nor_who_submits(jobs: NewestJobs) -> None:
    go_on, other = threading.Event(), threading.Event()
    jobs.submit("front", go_on.wait)
    jobs.submit("front", go_on.wait)  # waits for the first
    jobs.submit("wrist", other.set)
    assert other.wait(15.0)
    assert not go_on.is_set()
    go_on.set()


def test_a_job_that_raises_is_reported_and_the_thread_goes_on(
    jobs: NewestJobs, errors: Errors
) -> None:
    def fail() -> None:
        raise ValueError("broken")

    for _ in range(4):
        done = threading.Event()
        jobs.submit("front", fail)
        wait_for(lambda: not jobs.pending, "the job that fails")
        jobs.submit("front", done.set)
        assert done.wait(15.0)
    assert errors.said == [("front", "broken")] * 4


def test_closed_it_forgets_what_waits_and_does_nothing_more(errors: Errors) -> None:
    jobs = NewestJobs("closing", 1, errors)
    begun, go_on, done = threading.Event(), threading.Event(), list[str]()

    def slow() -> None:
        begun.set()
        assert go_on.wait(15.0)
        done.append("slow")

    jobs.submit("front", slow)
    assert begun.wait(15.0)
    jobs.submit("front", lambda: done.append("waiting"))
    closing = threading.Thread(target=jobs.close)
    closing.start()
    wait_for(lambda: jobs.closed, "closing to begin")
    go_on.set()
    closing.join(15.0)
    jobs.submit("front", lambda: done.append("late"))
    jobs.close()
    assert done == ["slow"]
    assert not jobs.pending
    assert not [each for each in threading.enumerate() if each.name.startswith("closing ")]
