"""Puts the questions of several robots into batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

#: Answers a batch of questions for a graph: its SHA-256, and the messages.
Answer = Callable[[str, Sequence[bytes]], Awaitable[list[bytes]]]


class TooLate(Exception):
    """A question that has waited for longer than its robot does."""


@dataclass(slots=True, kw_only=True)
class Served:
    """What was served so far.

    Attributes:
        questions: How many questions went to a replica.
        batches: In how many batches.
        expired: Questions that were dropped because they had waited for too long.
        failed: Batches that came to nothing.
    """

    questions: int = 0
    batches: int = 0
    expired: int = 0
    failed: int = 0


@dataclass(slots=True, eq=False)
class _Waiting:
    message: bytes
    until_s: float
    answer: asyncio.Future[bytes] = field(repr=False)


class Batcher:
    """Sends a batch as soon as a slot is free, with all that wait for the same graph by then.

    So nobody waits for company while there is something idle, and under load, when one would have
    waited anyway, the batches fill by themselves. It lives in one event loop.

    Attributes:
        slots: How many batches may be on their way at once.
        served: Counts.
    """

    def __init__(
        self, answer: Answer, *, max_batch: int, slots: int = 1, wait_s: float = 0.0
    ) -> None:
        """Begin with nothing waiting.

        Args:
            answer: What takes a batch.
            max_batch: Most questions in one.
            slots: How many batches may be on their way at once.
            wait_s: How long a batch that is not full waits for more although a slot is free [s].
        """
        self._answer = answer
        self._max_batch = max_batch
        self._wait_s = wait_s
        self._queues: dict[str, deque[_Waiting]] = {}
        self._busy = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.slots = slots
        self.served = Served()

    async def ask(self, sha256: str, message: bytes, deadline_s: float) -> bytes:
        """Return the answer to a question.

        Raises:
            TooLate: if it could not be sent on within `deadline_s` [s].
            Exception: whatever the batch failed with.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(message, loop.time() + deadline_s, loop.create_future())
        self._queues.setdefault(sha256, deque()).append(waiting)
        if self._wait_s and len(self._queues[sha256]) < self._max_batch:
            if self._timer is None:
                self._timer = loop.call_later(self._wait_s, self._wake)
        else:
            self._send()
        return await waiting.answer

    def _wake(self) -> None:
        self._timer = None
        self._send()

    def _send(self) -> None:
        """Fill the free slots, the graph that has waited longest first."""
        while self._busy < self.slots and any(self._queues.values()):
            sha256 = min(
                (key for key, queue in self._queues.items() if queue),
                key=lambda key: self._queues[key][0].until_s,
            )
            batch = self._take(sha256)
            if not batch:
                continue
            self._busy += 1
            task = asyncio.get_running_loop().create_task(self._run(sha256, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take(self, sha256: str) -> list[_Waiting]:
        """Return the next batch for a graph, without those whose robots do not wait any more."""
        queue, batch = self._queues[sha256], list[_Waiting]()
        now = asyncio.get_running_loop().time()
        while queue and len(batch) < self._max_batch:
            waiting = queue.popleft()
            if waiting.answer.done():  # its robot is gone
                continue
            if waiting.until_s < now:
                self.served.expired += 1
                waiting.answer.set_exception(TooLate())
                continue
            batch.append(waiting)
        return batch

    async def _run(self, sha256: str, batch: list[_Waiting]) -> None:
        self.served.questions += len(batch)
        self.served.batches += 1
        try:
            answers = await self._answer(sha256, [each.message for each in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} questions")
        except Exception as error:  # noqa: BLE001 whatever it was, those who asked are told
            self.served.failed += 1
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(error)
        else:
            for each, answer in zip(batch, answers, strict=True):
                if not each.answer.done():
                    each.answer.set_result(answer)
        finally:
            self._busy -= 1
            self._send()
