"""What every scheduler must do: subclass `SchedulerConformance` in a test file of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.engine.scheduling import Scheduler

HORIZON, STEP_S, JOINTS = 8, 0.05, ("a", "b")
BEGIN_NS, STEP_NS = 5_000_000_000, 50_000_000


def make_chunk(stamp_ns: int, offset: float = 0.0, horizon: int = HORIZON) -> ActionChunk:
    """Return a chunk along one motion in time, `offset` [rad] beside it."""
    times_s = (stamp_ns - BEGIN_NS) * 1e-9 + STEP_S * np.arange(1, horizon + 1)
    return ActionChunk(
        stamp_ns=stamp_ns,
        step_s=STEP_S,
        joint_names=JOINTS,
        positions=path_at(times_s) + offset,
        progress=0.4,
        instruction="lift the cube",
    )


def path_at(times_s: NDArray[np.floating[Any]]) -> FloatArray:
    """Return the motion (T, 2) [rad] at times (T,) [s]."""
    return np.stack([0.3 * times_s, -0.1 * times_s], axis=1).astype(np.float64)


class SchedulerConformance(ABC):
    """The tests; a subclass says what is tested."""

    #: Chunks are replaced while they are executed; the others are executed to their end first.
    replaces = True

    @abstractmethod
    def make_scheduler(self) -> Scheduler:
        """Return a scheduler that has seen nothing."""

    def test_at_first_an_inference_is_due_and_goes_on_from_nothing(self) -> None:
        """There is nothing to wait for."""
        scheduler = self.make_scheduler()
        assert isinstance(scheduler, Scheduler)
        assert scheduler.due(BEGIN_NS)
        assert scheduler.prefix(BEGIN_NS) is None

    def test_a_first_chunk_is_executed_as_it_is(self) -> None:
        """Rows, joints, progress and words are those of the policy."""
        scheduler = self.make_scheduler()
        assert scheduler.prefix(BEGIN_NS) is None
        chunk = make_chunk(BEGIN_NS)
        taken = scheduler.take(chunk, BEGIN_NS)
        np.testing.assert_allclose(taken.positions, chunk.positions, atol=1e-12)
        assert (taken.joint_names, taken.progress, taken.instruction) == (
            chunk.joint_names,
            chunk.progress,
            chunk.instruction,
        )

    def test_chunks_that_agree_stay_on_their_motion(self) -> None:
        """No scheduler moves what all chunks say of a time."""
        scheduler = self.make_scheduler()
        now_ns = BEGIN_NS
        for _ in range(12):
            if scheduler.due(now_ns):
                scheduler.prefix(now_ns)
                taken = scheduler.take(make_chunk(now_ns), now_ns)
                times_s = (now_ns - BEGIN_NS) * 1e-9 + STEP_S * np.arange(1, HORIZON + 1)
                np.testing.assert_allclose(taken.positions, path_at(times_s), atol=1e-9)
            now_ns += STEP_NS

    def test_an_inference_is_due_when_a_chunk_has_ended(self) -> None:
        """No robot stands for ever."""
        scheduler = self.make_scheduler()
        scheduler.prefix(BEGIN_NS)
        taken = scheduler.take(make_chunk(BEGIN_NS), BEGIN_NS + 2 * STEP_NS)
        assert scheduler.due(BEGIN_NS + 2 * STEP_NS) == self.replaces
        assert scheduler.due(taken.end_ns)

    def test_what_is_given_to_go_on_from_has_the_shape_of_a_chunk(self) -> None:
        """And only rows that are still ahead count."""
        scheduler = self.make_scheduler()
        scheduler.prefix(BEGIN_NS)
        scheduler.take(make_chunk(BEGIN_NS), BEGIN_NS)
        prefix = scheduler.prefix(BEGIN_NS + 3 * STEP_NS)
        if prefix is None:
            return
        assert prefix.positions.shape == (HORIZON, len(JOINTS))
        assert prefix.weight.shape == (HORIZON,)
        assert ((prefix.weight >= 0) & (prefix.weight <= 1)).all()
        assert (prefix.weight[HORIZON - 3 :] == 0).all()
        assert 0 <= prefix.known < HORIZON
        left = make_chunk(BEGIN_NS).positions[3:]
        np.testing.assert_allclose(prefix.positions[: HORIZON - 3], left, atol=1e-12)

    @pytest.mark.parametrize("late_rows", [0, 3])
    def test_after_forgetting_nothing_is_left_of_the_chunks_before(self, late_rows: int) -> None:
        """Another instruction begins anew."""
        scheduler = self.make_scheduler()
        scheduler.prefix(BEGIN_NS)
        scheduler.take(make_chunk(BEGIN_NS, offset=1.0), BEGIN_NS)
        scheduler.forget()
        later_ns = BEGIN_NS + late_rows * STEP_NS
        assert scheduler.due(later_ns)
        assert scheduler.prefix(later_ns) is None
        chunk = make_chunk(later_ns)
        taken = scheduler.take(chunk, later_ns)
        np.testing.assert_allclose(taken.positions, chunk.positions, atol=1e-12)
