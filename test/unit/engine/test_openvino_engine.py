"""OpenVINO as an engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from vla_ros.core.errors import EngineError
from vla_ros.engine.backends import onnxruntime_engine
from vla_ros.engine.backends.openvino_engine import load
from vla_ros.engine.engine import Engine, EngineOptions, Graph
from vla_ros.testing.engine_conformance import EngineConformance
from vla_ros.testing.small_graph import small_graph_inputs, write_small_graph

DEVICES = openvino.Core().available_devices
CAPABILITIES = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
with_bfloat16 = pytest.mark.skipif("BF16" not in CAPABILITIES, reason="this CPU has no bfloat16")


class TestOpenVino(EngineConformance):
    backend = "openvino"

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        return load(graph, options)


@with_bfloat16
class TestOpenVinoBfloat16(TestOpenVino):
    argument = "bf16"
    tolerance = 0.03


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """A few inputs that activations' ranges are read from."""

    def __init__(self) -> None:
        self._rows: Iterator[Any] = iter([small_graph_inputs(1, seed) for seed in range(8)])

    def get_next(self) -> Any:
        return next(self._rows, None)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = tmp_path_factory.mktemp("int8")
    plain = write_small_graph(folder / "small.onnx")
    path = folder / "small.int8.onnx"
    quantize_static(plain, path, Calibration(), quant_format=QuantFormat.QDQ)
    return Graph(path=path)


def test_an_int8_graph_is_run_as_int8_and_gives_what_onnxruntime_gives(quantized: Graph) -> None:
    engine = load(quantized, EngineOptions())
    assert engine.describe().precision == "int8"
    reference = onnxruntime_engine.load(quantized, EngineOptions())
    for seed in (11, 12):
        inputs = small_graph_inputs(1, seed)
        expected = reference.infer(inputs)
        for name, value in engine.infer(inputs).items():
            np.testing.assert_allclose(value, expected[name], atol=0.03, err_msg=name)


@with_bfloat16
def test_what_is_computed_in_bfloat16_differs_and_what_was_not_asked_for_does_not(
    tmp_path: Path,
) -> None:
    graph = Graph(path=write_small_graph(tmp_path / "small.onnx"))
    inputs = small_graph_inputs(1, seed=1)
    expected = onnxruntime_engine.load(graph, EngineOptions()).infer(inputs)["chunk"]
    plain, half = (
        load(graph, EngineOptions(argument=argument)).infer(inputs)["chunk"]
        for argument in ("", "bf16")
    )
    assert np.abs(plain - expected).max() < 1e-5 < np.abs(half - expected).max()


@pytest.mark.skipif(DEVICES != ["CPU"], reason="there is more than a CPU")
@pytest.mark.parametrize("argument", ["gpu", "npu"])
def test_a_device_that_is_not_there_is_an_error_that_lists_those_that_are(
    tmp_path: Path, argument: str
) -> None:
    graph = Graph(path=write_small_graph(tmp_path / "small.onnx"))
    with pytest.raises(EngineError, match=rf"openvino:{argument}: .* finds no .* only CPU"):
        load(graph, EngineOptions(argument=argument))


def test_what_was_compiled_is_kept_in_the_cache_folder(tmp_path: Path) -> None:
    graph = Graph(path=write_small_graph(tmp_path / "small.onnx"))
    inputs = small_graph_inputs(1, seed=1)
    first = load(graph, EngineOptions(cache=tmp_path)).infer(inputs)["chunk"].copy()
    assert list((tmp_path / "openvino").iterdir())
    again = load(graph, EngineOptions(cache=tmp_path)).infer(inputs)["chunk"]
    np.testing.assert_array_equal(again, first)
