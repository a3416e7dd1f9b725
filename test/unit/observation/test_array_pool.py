"""Arrays that are used again: never while somebody holds them, and always afterwards."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from vla_ros.observation.array_pool import KEPT, ArrayPool

SHAPE = (4, 6)


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_what_nobody_holds_is_used_again() -> None:
    pool = ArrayPool()
    first = address(pool.take(SHAPE, np.float32))
    for _ in range(20):
        assert address(pool.take(SHAPE, np.float32)) == first
    assert pool.made == 1


@pytest.mark.parametrize(
    "hold",
    [
        lambda array: array,
        lambda array: array[None],
        lambda array: array[1:3][..., ::2],
        lambda array: array.reshape(-1).view(np.uint32),
        lambda array: {"inside": [(array,)]},
        memoryview,
        lambda array: np.asarray(memoryview(array)),
    ],
    ids=["itself", "batch", "view of a view", "bits", "in containers", "buffer", "array of it"],
)
def test_what_somebody_holds_in_whatever_way_is_left_alone(hold: object) -> None:
    pool = ArrayPool()
    assert callable(hold)
    held = hold(pool.take(SHAPE, np.float32))
    others = [pool.take(SHAPE, np.float32) for _ in range(3)]
    memory = np.asarray(held["inside"][0][0] if isinstance(held, dict) else held)
    assert not any(np.shares_memory(memory, other) for other in others)
    assert len({address(other) for other in others}) == 3
    assert pool.made == 4
    del held, memory
    others.append(pool.take(SHAPE, np.float32))
    assert pool.made == 4, "it is used again when it was let go"


def test_an_array_that_another_thread_holds_is_left_alone_until_it_lets_go() -> None:
    pool = ArrayPool()
    holding, let_go = threading.Event(), threading.Event()

    def hold(array: np.ndarray) -> None:
        holding.set()
        let_go.wait(10.0)
        array.sum()

    thread = threading.Thread(target=hold, args=(pool.take(SHAPE, np.float32),))
    thread.start()
    assert holding.wait(10.0)
    held = pool.made
    pool.take(SHAPE, np.float32)
    assert pool.made == held + 1
    let_go.set()
    thread.join(10.0)
    both = [pool.take(SHAPE, np.float32), pool.take(SHAPE, np.float32)]
    assert pool.made == held + 1, both


def test_each_shape_and_type_has_its_own() -> None:
    pool = ArrayPool()
    taken = [
        pool.take(SHAPE, np.float32),
        pool.take(SHAPE, "uint8"),
        pool.take((6, 4), np.float32),
    ]
    assert [array.shape for array in taken] == [SHAPE, SHAPE, (6, 4)]
    assert [array.dtype.name for array in taken] == ["float32", "uint8", "float32"]


def test_whoever_keeps_everything_does_not_make_the_pool_grow() -> None:
    pool = ArrayPool()
    held = [pool.take(SHAPE, np.uint8) for _ in range(3 * KEPT)]
    assert len({address(array) for array in held}) == 3 * KEPT
    del held
    again = [pool.take(SHAPE, np.uint8) for _ in range(KEPT)]
    assert pool.made == 3 * KEPT, "those that were kept are used again"
    again.append(pool.take(SHAPE, np.uint8))
    assert pool.made == 3 * KEPT + 1, "the others were let go"
