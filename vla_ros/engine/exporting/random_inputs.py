"""Random inputs of a bundle's graphs, for comparisons where nothing was recorded."""

from __future__ import annotations

from typing import Any

from vla_ros.policy.bundle import GRAPH, GROUNDING, Bundle
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.deployed import (
    GROUND_INPUT_NAMES,
    example_ground_inputs,
    example_inputs,
    graph_inputs,
)

COUNT = 8


def random_inputs(bundle: Bundle, count: int = COUNT) -> dict[str, list[dict[str, Any]]]:
    """Return inputs (1, ...) by name, for each graph."""
    config = PolicyConfig.from_dict(bundle.policy)
    acting, grounding = graph_inputs(config), GROUND_INPUT_NAMES
    rows: dict[str, list[dict[str, Any]]] = {GRAPH: [], GROUNDING: []}
    for seed in range(count):
        for name, names, values in (
            (GRAPH, acting, example_inputs(config, seed)),
            (GROUNDING, grounding, example_ground_inputs(config, seed)),
        ):
            arrays = [value.numpy() for value in values]
            rows[name].append(dict(zip(names, arrays, strict=True)))
    return rows
