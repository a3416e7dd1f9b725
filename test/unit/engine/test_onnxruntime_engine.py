"""ONNX Runtime as an engine, on the CPU; where it keeps its memory, and on which CPUs it runs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from vla_ros.core.errors import EngineError
from vla_ros.engine.backends.onnxruntime_binding import DeviceBinding
from vla_ros.engine.backends.onnxruntime_engine import load
from vla_ros.engine.backends.onnxruntime_session import session_settings, thread_affinities
from vla_ros.engine.engine import Engine, EngineOptions, Graph
from vla_ros.testing.engine_conformance import EngineConformance
from vla_ros.testing.small_graph import small_graph_inputs, write_small_graph
from vla_ros.testing.waiting import wait_for

TWO_CPUS = tuple(sorted(os.sched_getaffinity(0)))[:2]


class TestOnnxRuntime(EngineConformance):
    backend = "onnxruntime"

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        return load(graph, options)


class TestOnnxRuntimeWithTwoThreads(TestOnnxRuntime):
    threads = 2


@pytest.mark.gpu
class TestOnnxRuntimeCuda(TestOnnxRuntime):
    argument = "cuda"


@pytest.mark.gpu
class TestOnnxRuntimeTensorRt(TestOnnxRuntime):
    argument = "tensorrt"


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return Graph(path=write_small_graph(tmp_path / "small.onnx"))


@pytest.mark.parametrize(
    ("threads", "cpus", "told"),
    [
        (1, (3,), ""),
        (2, (), ""),
        (2, (0, 1), "2"),
        (3, (4, 2, 7), "3;8"),
        (3, (4, 2), "5,3;5,3"),
    ],
)
def test_the_threads_that_onnxruntime_starts_are_told_where_to_stay(
    threads: int, cpus: tuple[int, ...], told: str
) -> None:
    assert thread_affinities(threads, cpus) == told


@pytest.mark.skipif(len(TWO_CPUS) < 2, reason="there is one CPU only")
def test_a_pinned_engine_computes_the_same_and_says_where(graph: Graph) -> None:
    inputs = small_graph_inputs(1, seed=3)
    pinned = load(graph, EngineOptions(threads=2, cpus=TWO_CPUS))
    assert pinned.describe().notes["cpus"] == ",".join(str(cpu) for cpu in TWO_CPUS)
    free = load(graph, EngineOptions(threads=2)).infer(inputs)
    for name, value in pinned.infer(inputs).items():
        np.testing.assert_array_equal(value, free[name])


@pytest.mark.skipif(len(TWO_CPUS) < 2, reason="there is one CPU only")
def test_the_thread_that_onnxruntime_starts_is_on_the_cpu_that_was_named(graph: Graph) -> None:
    before = set(Path("/proc/self/task").iterdir())
    kept = load(graph, EngineOptions(threads=2, cpus=TWO_CPUS))
    started = [int(task.name) for task in set(Path("/proc/self/task").iterdir()) - before]
    wait_for(
        lambda: {TWO_CPUS[1]} in [os.sched_getaffinity(task) for task in started],
        "a thread on its CPU",
    )
    kept.close()


def test_a_device_binding_keeps_its_places_and_returns_what_is_wanted(graph: Graph) -> None:
    described = load(graph, EngineOptions()).describe()
    session = onnxruntime.InferenceSession(
        str(graph.path), session_settings(EngineOptions()), ["CPUExecutionProvider"]
    )
    binding = DeviceBinding(session, described.inputs, described.outputs, "cpu")
    for seed in (1, 2):
        inputs = small_graph_inputs(1, seed=seed)
        expected = load(graph, EngineOptions()).infer(inputs)
        found = binding.run(inputs, ["progress"])
        assert set(found) == {"progress"}
        np.testing.assert_allclose(found["progress"], expected["progress"], atol=1e-6)
        np.testing.assert_allclose(
            binding.run(inputs, ["chunk"])["chunk"], expected["chunk"], atol=1e-5
        )


def test_a_provider_of_another_build_is_refused_with_the_build_that_has_it(graph: Graph) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this is onnxruntime-gpu")
    with pytest.raises(EngineError, match=r"onnxruntime:cuda-graphs: .* by onnxruntime-gpu"):
        load(graph, EngineOptions(argument="cuda-graphs"))
