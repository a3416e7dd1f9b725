"""A server of graphs in this process: what `vla_ros serve` runs, without Ray."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from vla_ros.engine.choice import EngineChoice
from vla_ros.engine.engine import EngineDescription, Graph
from vla_ros.serving.batcher import Answer, Batcher
from vla_ros.serving.gateway import Gateway
from vla_ros.serving.served_graphs import ServedGraphs


class GraphServer:
    """A gateway in front of graphs, in a thread of its own; use it in a `with`.

    Attributes:
        port: That robots connect to, on loopback.
        batcher: What it puts batches together with.
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        *,
        port: int = 0,
        max_batch: int = 8,
        answering: Callable[[Answer], Answer] | None = None,
    ) -> None:
        """Load the graphs.

        Args:
            graphs: What is served.
            port: To listen on; 0 for one that is free.
            max_batch: Most robots in one inference.
            answering: Makes of what answers something that answers otherwise.
        """
        self._graphs = ServedGraphs(graphs, EngineChoice())
        self._described: Mapping[str, EngineDescription] = self._graphs.describe()
        answer: Answer = self._answer if answering is None else answering(self._answer)
        self.batcher = Batcher(answer, max_batch=max_batch)
        self._gateway = Gateway(self.batcher, self._describe)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = port

    @property
    def address(self) -> str:
        """What stands behind `remote:` to reach it."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def robots(self) -> int:
        """How many are connected."""
        return self._gateway.robots

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._call(self._gateway.open("127.0.0.1", self.port))
        return self

    def __exit__(self, *error: object) -> None:
        self._call(self._gateway.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()
        self._graphs.close()

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function in the thread of the server's event loop."""
        self._loop.call_soon_threadsafe(function)

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10.0)

    async def _answer(self, sha256: str, questions: Sequence[bytes]) -> list[bytes]:
        return await asyncio.to_thread(self._graphs.answer, sha256, questions)

    async def _describe(self) -> Mapping[str, EngineDescription]:
        return self._described
