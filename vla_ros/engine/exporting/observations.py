"""What the graphs of a bundle were given while it acted: what exports are checked with.

No torch here: what plays episodes makes these, and hands them on.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import UserError
from vla_ros.engine.engine import Arrays

#: Fewer say too little of the ranges that values have.
FEWEST = 8
_ABOUT = "about"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedInputs:
    """Inputs of graphs as they came up, one row each.

    Attributes:
        graphs: By file name of the graph and name of the input: (N, ...), N observations.
        about: How they came about, as plain data: bundle, seeds, episodes.
    """

    graphs: Mapping[str, Mapping[str, NDArray[np.generic]]]
    about: Mapping[str, Any] = field(default_factory=dict)

    def count(self, graph: str) -> int:
        """Return how many observations there are of a graph."""
        return len(next(iter(self.graphs.get(graph, {}).values()), ()))

    def rows(self, graph: str, most: int | None = None) -> list[dict[str, NDArray[np.generic]]]:
        """Return inputs (1, ...) of a graph by name, spread evenly over all that there are.

        Args:
            graph: Its file name.
            most: How many at most; None for all.
        """
        count = self.count(graph)
        wanted = count if most is None else min(most, count)
        chosen = np.linspace(0, count - 1, wanted).round().astype(int) if wanted else ()
        inputs = self.graphs[graph] if wanted else {}
        return [{name: values[row : row + 1] for name, values in inputs.items()} for row in chosen]

    def require(self, graph: str, names: Sequence[str], purpose: str) -> None:
        """Refuse if a graph's inputs are not in here, or too few of them.

        Raises:
            UserError: says what is missing, and how to get it.
        """
        missing = [name for name in names if name not in self.graphs.get(graph, {})]
        if missing:
            raise UserError(
                f"the recorded observations hold no {', '.join(missing)} of {graph}, which "
                f"{purpose} needs: they are of another policy; record new ones by leaving "
                "--calibration out"
            )
        if self.count(graph) < FEWEST:
            raise UserError(
                f"the recorded observations hold {self.count(graph)} of {graph}; {purpose} needs "
                f"{FEWEST} at least: record some with --episodes 1 or more, or name a larger "
                "--calibration file"
            )

    def save(self, path: Path) -> None:
        """Write a compressed .npz."""
        arrays = {
            f"{graph}/{name}": values
            for graph, inputs in self.graphs.items()
            for name, values in inputs.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial.npz")
        about = np.array(json.dumps(dict(self.about)))
        np.savez_compressed(partial, **arrays, **{_ABOUT: about})  # type: ignore[arg-type]
        partial.rename(path)

    @staticmethod
    def load(path: Path) -> RecordedInputs:
        """Read what `save` wrote.

        Raises:
            UserError: if the file is missing or no recording; says how to make one.
        """
        way = "`vla_ros export BUNDLE --record FILE` records one"
        if not path.is_file():
            raise UserError(f"{path}: no such file of recorded observations; {way}")
        graphs: dict[str, dict[str, NDArray[np.generic]]] = {}
        try:
            with np.load(path) as file:
                about = json.loads(str(file[_ABOUT]))
                for key in file.files:
                    if key != _ABOUT:
                        graph, _, name = key.partition("/")
                        graphs.setdefault(graph, {})[name] = file[key]
        except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
            raise UserError(f"{path}: holds no recorded observations: {error}; {way}") from error
        for graph, inputs in graphs.items():
            if len({len(values) for values in inputs.values()}) != 1:
                raise UserError(f"{path}: the inputs of {graph} differ in number; {way}")
        return RecordedInputs(graphs=graphs, about=about)


class Recording:
    """Takes inputs one by one, and becomes `RecordedInputs`."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rows: dict[str, list[dict[str, NDArray[np.generic]]]] = {}

    def add(self, graph: str, inputs: Arrays, names: Sequence[str]) -> None:
        """Keep a copy of the inputs (1, ...) of a graph that are named."""
        row = {name: np.array(inputs[name]) for name in names}
        self._rows.setdefault(graph, []).append(row)

    def finish(self, about: Mapping[str, Any]) -> RecordedInputs:
        """Return everything that was kept."""
        graphs = {
            graph: {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
            for graph, rows in self._rows.items()
        }
        return RecordedInputs(graphs=graphs, about=about)
