"""How the questions of several robots become batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from vla_ros.serving.batcher import Batcher, TooLate

LONG_S = 60.0


class Answering:
    """Answers when it is let, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[bytes]]] = []
        self.released = asyncio.Event()

    async def __call__(self, sha256: str, questions: Sequence[bytes]) -> list[bytes]:
        self.batches.append((sha256, list(questions)))
        await self.released.wait()
        return [b"answer to " + question for question in questions]


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def ask(batcher: Batcher, *questions: bytes, graph: str = "g") -> list[asyncio.Task[bytes]]:
    tasks = [asyncio.create_task(batcher.ask(graph, question, LONG_S)) for question in questions]
    await settle()
    return tasks


def test_the_first_question_goes_at_once_and_those_after_it_go_together() -> None:
    async def run() -> None:
        answering = Answering()
        batcher = Batcher(answering, max_batch=8)
        tasks = await ask(batcher, b"1") + await ask(batcher, b"2", b"3", b"4")
        assert answering.batches == [("g", [b"1"])]
        answering.released.set()
        assert await asyncio.gather(*tasks) == [
            b"answer to " + each for each in (b"1", b"2", b"3", b"4")
        ]
        assert answering.batches == [("g", [b"1"]), ("g", [b"2", b"3", b"4"])]
        assert (batcher.served.questions, batcher.served.batches) == (4, 2)

    asyncio.run(run())


@pytest.mark.parametrize(("most", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [1, 2, 2]), (9, [1, 4])])
def test_no_batch_is_larger_than_it_may_be(most: int, sizes: list[int]) -> None:
    async def run() -> None:
        answering = Answering()
        tasks = await ask(Batcher(answering, max_batch=most), b"1", b"2", b"3", b"4", b"5")
        answering.released.set()
        await asyncio.gather(*tasks)
        assert [len(questions) for _, questions in answering.batches] == sizes

    asyncio.run(run())


def test_as_many_batches_are_under_way_as_there_are_slots() -> None:
    async def run() -> None:
        answering = Answering()
        batcher = Batcher(answering, max_batch=1, slots=3)
        tasks = await ask(batcher, b"1", b"2", b"3", b"4", b"5")
        assert len(answering.batches) == 3
        answering.released.set()
        await asyncio.gather(*tasks)
        assert len(answering.batches) == 5

    asyncio.run(run())


def test_questions_for_different_graphs_never_share_a_batch_and_none_is_forgotten() -> None:
    async def run() -> None:
        answering = Answering()
        batcher = Batcher(answering, max_batch=8)
        tasks = await ask(batcher, b"1")
        tasks += await ask(batcher, b"2", b"3", graph="h") + await ask(batcher, b"4", b"5")
        answering.released.set()
        await asyncio.gather(*tasks)
        assert answering.batches == [("g", [b"1"]), ("h", [b"2", b"3"]), ("g", [b"4", b"5"])]

    asyncio.run(run())


def test_a_question_whose_robot_waits_no_more_is_not_sent_on() -> None:
    async def run() -> None:
        answering = Answering()
        batcher = Batcher(answering, max_batch=8)
        first = await ask(batcher, b"1")
        hurried = asyncio.create_task(batcher.ask("g", b"2", 0.0))
        gone, *last = await ask(batcher, b"3", b"4")
        gone.cancel()
        await settle()
        answering.released.set()
        with pytest.raises(TooLate):
            await hurried
        await asyncio.gather(*first, *last)
        assert answering.batches == [("g", [b"1"]), ("g", [b"4"])]
        assert batcher.served.expired == 1

    asyncio.run(run())


def test_with_a_wait_a_question_waits_for_others_but_not_once_the_batch_is_full() -> None:
    async def run() -> None:
        answering = Answering()
        answering.released.set()
        batcher = Batcher(answering, max_batch=3, wait_s=0.05)
        await asyncio.gather(*await ask(batcher, b"1", b"2"))
        assert answering.batches == [("g", [b"1", b"2"])]
        patient = Batcher(answering, max_batch=3, wait_s=LONG_S)
        await asyncio.wait_for(asyncio.gather(*await ask(patient, b"3", b"4", b"5")), 10.0)
        assert answering.batches[-1] == ("g", [b"3", b"4", b"5"])

    asyncio.run(run())


@pytest.mark.parametrize("answers", [RuntimeError("the replica died"), [b"one too few"]])
def test_a_batch_that_fails_tells_all_who_asked_and_the_next_one_is_sent(answers: Any) -> None:
    async def run() -> None:
        failing = True

        async def answer(sha256: str, questions: Sequence[bytes]) -> list[bytes]:
            if not failing:
                return list(questions)
            if isinstance(answers, Exception):
                raise answers
            return list(answers)

        batcher = Batcher(answer, max_batch=2, slots=0)
        tasks = await ask(batcher, b"1", b"2")
        batcher.slots = 1
        tasks += await ask(batcher, b"3", b"4")
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, RuntimeError) for each in results)
        assert batcher.served.failed == 2
        failing = False
        assert await batcher.ask("g", b"5", LONG_S) == b"5"

    asyncio.run(run())
