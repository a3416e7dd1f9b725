"""Rows of features to and from parquet files, as LeRobot and `datasets` lay them out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

#: Values of a row group: small enough for memory, and for one row to be read alone.
GROUP_BYTES, LARGEST_BATCH = 8 * 2**20, 256

Features = Mapping[str, Mapping[str, Any]]


class RowWriter:
    """Appends rows to a parquet file; use it in a `with`.

    Attributes:
        batch: Rows that are best added at a time.
    """

    def __init__(self, path: Path, features: Features) -> None:
        """Begin a file with those features that are no videos."""
        self._features = {
            name: value for name, value in features.items() if value["dtype"] != "video"
        }
        row = sum(_bytes(value) for value in self._features.values())
        self.batch = max(1, min(LARGEST_BATCH, GROUP_BYTES // row))
        self._path = path
        self._writer: Any = None

    def __enter__(self) -> RowWriter:
        """Return this."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the file."""
        if self._writer is not None:
            self._writer.close()

    def add(self, rows: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        """Append rows; a feature that no row has is left out of the file."""
        if rows:
            names = [name for name in self._features if name in rows[0]]
            self.add_table(
                pa.table(
                    {
                        name: column([row[name] for row in rows], self._features[name])
                        for name in names
                    }
                )
            )

    def add_table(self, table: Any) -> None:
        """Append rows as a table."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)


def column(values: Sequence[NDArray[Any]], feature: Mapping[str, Any]) -> Any:
    """Return the values of a feature as a column."""
    if feature["dtype"] == "image":
        images = [{"bytes": value.tobytes(), "path": None} for value in values]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        return pa.array(images, kind)
    array = np.stack(values).astype(feature["dtype"])
    if list(feature["shape"]) == [1]:
        return pa.array(array.reshape(-1))
    found = pa.array(array.reshape(-1))
    if array.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(found, array.shape[1])
    for size in reversed(array.shape[1:]):  # `datasets` has lists in lists for these
        offsets = np.arange(0, len(found) + 1, size, dtype=np.int32)
        found = pa.ListArray.from_arrays(pa.array(offsets), found)
    return found


def to_array(values: Any, feature: Mapping[str, Any]) -> NDArray[Any]:
    """Return a column's values, shape (rows, *shape of the feature)."""
    found = values.combine_chunks() if hasattr(values, "combine_chunks") else values
    while hasattr(found, "storage"):
        found = found.storage
    while pa.types.is_list(found.type) or pa.types.is_fixed_size_list(found.type):
        found = found.flatten()
    flat = np.asarray(found.to_numpy(zero_copy_only=False))
    return flat.reshape(len(values), *feature["shape"]).astype(feature["dtype"], copy=False)


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write the tasks as pandas does a frame whose index they are."""
    index = "__index_level_0__"
    pandas = {
        "index_columns": [index],
        "column_indexes": [
            {
                "name": None,
                "field_name": None,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": {"encoding": "UTF-8"},
            }
        ],
        "columns": [
            _pandas_column("task_index", "task_index", "int64", "int64"),
            _pandas_column(None, index, "unicode", "object"),
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), index: pa.array(tasks)}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


def read_tasks(path: Path) -> list[str]:
    """Return the tasks by their index."""
    table = pq.read_table(path)
    name = next(name for name in table.column_names if name != "task_index")
    pairs = zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True)
    return [str(task) for _, task in sorted(pairs)]


def _pandas_column(name: str | None, field: str, kind: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": field,
        "pandas_type": kind,
        "numpy_type": numpy_type,
        "metadata": None,
    }


def _bytes(feature: Mapping[str, Any]) -> int:
    size = int(np.prod(feature["shape"]))
    return size if feature["dtype"] == "image" else size * np.dtype(feature["dtype"]).itemsize
