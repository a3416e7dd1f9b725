"""Load on a server of graphs: robots as coroutines that send what was recorded.

python bench/fleet_load.py --address ADDRESS --graph PATH --inputs PATH --robots N --seconds S ...

Robots of a fleet have computers of their own. So what asks here costs the server's machine as
little as it can: questions are packed once, in the protocol of the engine `remote`, and all robots
share one event loop. Answers are read, checked and counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect

from vla_ros.engine.engine import Graph
from vla_ros.engine.remote.messages import (
    MAX_BYTES,
    VERSION,
    pack,
    pack_arrays,
    unpack,
    unpack_arrays,
    unpack_sequence,
)

#: A robot does not wait longer for an answer [s], and the server is told so.
DEADLINE_S = 10.0
#: Robots begin to be counted this long after they have connected [s].
LEAD_S = 0.5


@dataclass(slots=True)
class Counted:
    """What the robots saw.

    Attributes:
        answers: When an answer came, and how long it took [s].
        failures: Why others did not.
    """

    answers: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def main() -> int:
    """Ask, and print throughput and latency as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True, help="of the server: ws://host:port")
    parser.add_argument("--graph", type=Path, required=True)
    parser.add_argument("--inputs", type=Path, required=True, help="recorded inputs of the graph")
    parser.add_argument("--robots", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=float, default=0.0, help="of each robot [Hz]; 0: at once")
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(ask(arguments))), flush=True)
    return 0


async def ask(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask from all robots; return throughput and latency."""
    graph, bodies = Graph(path=arguments.graph), read_questions(arguments.inputs)
    robots = range(arguments.robots)
    sockets = [await greet(arguments.address, graph) for _ in robots]
    counted, loop = Counted(), asyncio.get_running_loop()
    begin = loop.time() + LEAD_S
    end = begin + arguments.seconds
    await asyncio.gather(
        *(
            keep_asking(
                sockets[index],
                bodies[index % len(bodies)],
                due=begin + (0.381966 * index % 1.0) / arguments.rate if arguments.rate else begin,
                end=end,
                period=1.0 / arguments.rate if arguments.rate else 0.0,
                counted=counted,
            )
            for index in robots
        )
    )
    await asyncio.gather(*(socket.close() for socket in sockets))
    inside = np.array([took for when, took in counted.answers if begin <= when <= end])
    p50, p99 = np.percentile(inside, (50, 99)) if len(inside) else (np.nan, np.nan)
    return {
        "robots": arguments.robots,
        "per_s": len(inside) / arguments.seconds,
        "p50_ms": 1e3 * float(p50),
        "p99_ms": 1e3 * float(p99),
        "failed": len(counted.failures),
    }


def read_questions(path: Path) -> Sequence[Mapping[str, Any]]:
    """Return the bodies of the questions of the recorded robots, with arrays as they travel."""
    robots: dict[str, dict[str, NDArray[Any]]] = {}
    with np.load(path) as file:
        for key, value in file.items():
            robot, _, name = key.partition("/")
            robots.setdefault(robot, {})[name] = value
    return [{"inputs": pack_arrays(robots[key]), "outputs": None} for key in sorted(robots)]


async def greet(address: str, graph: Graph) -> ClientConnection:
    """Return a connection of a robot that has been welcomed."""
    socket = await connect(address, compression=None, max_size=MAX_BYTES, proxy=None)
    hello = {
        "hello": VERSION,
        "graph": graph.sha256,
        "name": graph.path.name,
        "deadline_ms": 1e3 * DEADLINE_S,
    }
    await socket.send(pack(0, hello))
    answer = await socket.recv(decode=False)
    assert unpack(answer).get("hello") == VERSION, unpack(answer)
    return socket


async def keep_asking(
    socket: ClientConnection,
    body: Mapping[str, Any],
    *,
    due: float,
    end: float,
    period: float,
    counted: Counted,
) -> None:
    """Ask from `due` to `end` [s]; note when each answer came, and how long it took [s].

    At a rate, an answer that is late delays no question that is due after it: how long that one
    took counts from when it was to be asked.
    """
    loop, packed, sequence = asyncio.get_running_loop(), pack(0, body)[8:], 0
    while due < end:
        await asyncio.sleep(max(0.0, due - loop.time()))
        asked, sequence = due if period else loop.time(), sequence + 1
        await socket.send(sequence.to_bytes(8, "little") + packed)
        answer = await socket.recv(decode=False)
        now = loop.time()
        if unpack_sequence(answer) != sequence:
            raise RuntimeError(f"an answer to {unpack_sequence(answer)}, not to {sequence}")
        found = unpack(answer)
        if "error" in found:  # it came to nothing: it is no throughput
            counted.failures.append(str(found["error"]))
        else:
            outputs = unpack_arrays(found["outputs"])
            assert all(np.isfinite(value).all() for value in outputs.values())
            counted.answers.append((now, now - asked))
        due = due + period if period else now


if __name__ == "__main__":
    sys.exit(main())
