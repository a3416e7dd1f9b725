"""What a graph is told of the chunk that it is to go on from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vla_ros.core.types import ChunkPrefix
from vla_ros.engine.prefix_inputs import prefix_inputs

SHAPE = (6, 2)
BOTH = ("prefix_weight", "prefix_known")


def make_prefix(**changes: Any) -> ChunkPrefix:
    values: dict[str, Any] = {
        "positions": np.arange(12.0).reshape(SHAPE),
        "weight": np.linspace(1, 0, 6),
        "known": 2,
    }
    return ChunkPrefix(**{**values, **changes})


def test_a_prefix_becomes_rows_weights_and_a_mask_of_the_known_rows() -> None:
    inputs = prefix_inputs(BOTH, make_prefix(), SHAPE)
    assert {name: value.shape for name, value in inputs.items()} == {
        "prefix": (1, 6, 2),
        "prefix_weight": (1, 6),
        "prefix_known": (1, 6),
    }
    assert inputs["prefix_known"].tolist() == [[1, 1, 0, 0, 0, 0]]
    assert all(value.dtype == np.float32 for value in inputs.values())


def test_without_a_prefix_all_is_zero_and_a_graph_that_takes_none_gets_none() -> None:
    assert not any(value.any() for value in prefix_inputs(BOTH, None, SHAPE).values())
    assert prefix_inputs((), None, SHAPE) == {}


@pytest.mark.parametrize(
    ("parts", "changes", "text"),
    [
        ((), {"known": 0}, "the graph does not take prefix_weight"),
        (("prefix_weight",), {}, "the graph does not take prefix_known"),
        (BOTH, {"positions": np.zeros((5, 2))}, r"positions: .* shape \(6, 2\), got \(5, 2\)"),
        (BOTH, {"positions": np.full(SHAPE, np.nan)}, "positions: expected finite values"),
        (BOTH, {"weight": np.zeros(5)}, r"weight: .* shape \(6,\), got \(5,\)"),
        (BOTH, {"known": 6}, "6 of 6 rows are known; one is to decide"),
    ],
)
def test_a_prefix_that_does_not_fit_is_refused(
    parts: tuple[str, ...], changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        prefix_inputs(parts, make_prefix(**changes), SHAPE)
