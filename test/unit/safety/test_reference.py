"""The path through a chunk's rows, and the fade from one path into the next."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.contract import RobotContract
from vla_ros.core.types import FloatArray
from vla_ros.safety.reference import ChunkPath, Reference, monotone_cubics

STEP_NS = 50_000_000
ROWS = st.lists(st.floats(-2, 2), min_size=1, max_size=8)


def path_through(rows: list[float], command: float) -> ChunkPath:
    return ChunkPath(
        stamp_ns=0,
        step_s=0.05,
        command=np.array([command]),
        rows=np.array(rows)[:, None],
    )


@settings(deadline=None)
@given(ROWS)
def test_a_path_meets_its_rows_and_never_goes_beyond_the_two_it_is_between(
    rows: list[float],
) -> None:
    path = path_through(rows, rows[0])
    knots = [rows[0], *rows]
    for k, (a, b) in enumerate(pairwise(knots)):
        inside = [path.sample(k * STEP_NS + i * STEP_NS // 10, 0.01)[0, 0] for i in range(11)]
        assert inside[0] == pytest.approx(a, abs=1e-12)
        assert inside[-1] == pytest.approx(b, abs=1e-12)
        assert min(a, b) - 1e-12 <= min(inside)
        assert max(inside) <= max(a, b) + 1e-12


@settings(deadline=None)
@given(ROWS)
def test_a_path_has_no_jump_in_velocity(rows: list[float]) -> None:
    cubics = monotone_cubics(np.array([rows[0], *rows])[:, None])
    ends = cubics[:-1, 1] + 2 * cubics[:-1, 2] + 3 * cubics[:-1, 3]
    np.testing.assert_allclose(ends, cubics[1:, 1], atol=1e-12)


def test_an_arm_that_lags_behind_does_not_bend_the_path() -> None:
    straight = path_through([0.10, 0.12, 0.14], 0.08)
    lagging = path_through([0.10, 0.12, 0.14], -0.5)
    ahead = path_through([0.10, 0.12, 0.14], 0.5)
    for now_ns in range(0, 3 * STEP_NS, 10_000_000):
        expected = 0.08 + 0.02 * now_ns / STEP_NS
        assert straight.sample(now_ns, 0.01)[0, 0] == pytest.approx(expected)
        assert lagging.sample(now_ns, 0.01)[0, 0] == pytest.approx(expected)
    assert ahead.sample(0, 0.01)[0, 0] == pytest.approx(0.10)


def test_a_chunk_of_one_row_comes_from_the_command_at_its_stamp() -> None:
    path = path_through([0.2], 0.1)
    np.testing.assert_allclose(path.sample(STEP_NS // 2, 0.01)[:, 0], [0.15, 0.13, 0.11])
    assert path.sample(10 * STEP_NS, 0.01)[0, 0] == pytest.approx(0.2)


@pytest.mark.parametrize("distance", [0.001, 0.02, 0.3])
def test_a_fade_asks_for_nothing_that_the_limits_forbid(
    contract: RobotContract, home: FloatArray, distance: float
) -> None:
    limits, dt_s = contract.limits, 0.01
    reference = Reference(home, 0.04, dt_s, limits)
    target = home + distance
    path = ChunkPath(stamp_ns=0, step_s=0.05, command=target, rows=np.array([target]))
    reference.fade_in(path, 0)
    points = np.array([reference.sample(k * 10_000_000)[0] for k in range(150)])
    np.testing.assert_allclose(points[0], home)
    np.testing.assert_allclose(points[-1], target, atol=1e-12)
    assert (np.diff(points, axis=0) >= -1e-15).all()
    for order, bound in ((1, limits.velocity), (2, limits.acceleration)):
        assert (np.abs(np.diff(points, n=order, axis=0)) <= bound * dt_s**order).all()


def test_many_chunks_in_a_row_leave_the_last_one(
    contract: RobotContract, home: FloatArray
) -> None:
    reference = Reference(home, 0.04, 0.01, contract.limits)
    for k in range(60):
        rows = np.array([home + 0.001 * k])
        path = ChunkPath(stamp_ns=0, step_s=0.05, command=rows[0], rows=rows)
        reference.fade_in(path, k * 10_000_000)
    np.testing.assert_allclose(reference.sample(3_000_000_000), [home + 0.059] * 3, atol=1e-12)
