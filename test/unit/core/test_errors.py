"""Errors travel between processes: one that cannot be read back hangs a pool of workers."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from vla_ros.core.errors import ChunkRejected, ObservationError, UserError, VlaError
from vla_ros.core.resources import ResourceNotFound


@pytest.mark.parametrize(
    "error",
    [
        UserError("mend it"),
        ObservationError("/joint_states", "holds NaN"),
        ChunkRejected("it has no rows"),
        ResourceNotFound("models/none", (Path("here"), Path("there"))),
    ],
)
def test_an_error_keeps_its_words_and_its_data_when_it_is_pickled(error: VlaError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
