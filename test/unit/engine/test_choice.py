"""Which backend runs a graph: the wanted one or none, unless others may take over."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.core.errors import EngineError, InferenceFailed
from vla_ros.core.resources import resource_path
from vla_ros.engine.backends.onnxruntime_engine import load
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Arrays, Engine, EngineDescription, EngineOptions, Graph
from vla_ros.engine.fallback import FallbackEngine
from vla_ros.engine.tensors import example_inputs
from vla_ros.testing.engine_conformance import EngineConformance

OPENVINO = "vla_ros.engine.backends.openvino_engine"
POLICY = resource_path("models/tabletop-small") / "policy.onnx"


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph(path=POLICY)


class TestEnginesThatTakeOver(EngineConformance):
    """Several engines are one: the suite holds for them as it does for each."""

    backend = "onnxruntime"

    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        return FallbackEngine([load(graph, options), load(graph, options)])


def choose(*backends: str) -> EngineChoice:
    return EngineChoice(backends=backends)


def test_a_choice_is_read_from_two_texts() -> None:
    choice = EngineChoice.parse("remote:ws://10.0.0.5:8000", "openvino, onnxruntime", threads=2)
    assert choice.backends == ("remote:ws://10.0.0.5:8000", "openvino", "onnxruntime")
    assert choice.threads == 2
    assert EngineChoice.parse("onnxruntime").backends == ("onnxruntime",)


def test_an_argument_may_hold_commas_in_a_list_too() -> None:
    choice = EngineChoice.parse("tensorrt:fp16,prebuilt", "tensorrt_rtx:fp16,prebuilt,onnxruntime")
    assert choice.backends == (
        "tensorrt:fp16,prebuilt", "tensorrt_rtx:fp16,prebuilt", "onnxruntime",
    )  # fmt: skip


def test_an_unknown_backend_lists_those_that_exist(graph: Graph) -> None:
    with pytest.raises(EngineError, match=r"expected one of .*onnxruntime.*got 'cray'"):
        open_engine(graph, choose("cray"))


def test_a_provider_that_is_not_there_is_an_error_and_no_cpu_session(graph: Graph) -> None:
    with pytest.raises(EngineError, match=r"onnxruntime:cuda: .*CUDAExecutionProvider"):
        open_engine(graph, choose("onnxruntime:cuda"))


def test_a_fallback_that_was_asked_for_is_taken_and_logged(
    graph: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        engine = open_engine(graph, choose("onnxruntime:cuda", "onnxruntime"))
    assert engine.describe().backend == "onnxruntime"
    assert "onnxruntime:cuda is left out" in caplog.text
    left_out = engine.describe().notes["left_out"]  # the diagnostics go on to say so
    assert left_out.startswith("onnxruntime:cuda: the installed ONNX Runtime")


def test_cpus_that_are_not_there_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(EngineError, match="cpus: expected some of"):
        EngineChoice.parse("onnxruntime", cpus="9999")


def test_no_thread_and_no_backend_are_refused() -> None:
    with pytest.raises(EngineError, match="threads: expected 1 or more, got 0"):
        EngineChoice.parse("onnxruntime", threads=0)
    with pytest.raises(EngineError, match=r"backend: expected one of .*onnxruntime.*got ''"):
        EngineChoice.parse("")


def test_a_server_that_is_not_there_is_not_waited_for_where_nothing_stands_in(
    graph: Graph,
) -> None:
    before = threading.active_count()
    with pytest.raises(EngineError, match=r"remote:.*is not there yet; onnxruntime:tpu: no such"):
        open_engine(graph, choose("remote:ws://127.0.0.1:9", "onnxruntime:tpu"))
    assert threading.active_count() == before  # the link's thread has ended


def test_what_was_opened_is_freed_if_the_next_one_breaks(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Flaky(open_engine(graph, choose("onnxruntime")), "first")

    def load_or_break(name: str) -> Any:
        if name == "openvino":
            raise MemoryError
        return lambda graph, options: first

    monkeypatch.setattr("vla_ros.engine.choice.load_backend", load_or_break)
    with pytest.raises(MemoryError):
        open_engine(graph, choose("onnxruntime", "openvino"))
    assert first.closed


def test_a_backend_whose_library_is_missing_says_what_to_install(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, OPENVINO, raising=False)
    with pytest.raises(EngineError, match=r"openvino: cannot be imported.*openvino\.txt"):
        open_engine(graph, choose("openvino"))


def test_where_nothing_can_run_the_reasons_of_all_are_given(graph: Graph) -> None:
    with pytest.raises(EngineError, match=r"onnxruntime:cuda.*; onnxruntime:tpu: no such"):
        open_engine(graph, choose("onnxruntime:cuda", "onnxruntime:tpu"))


@pytest.mark.parametrize("name", ["policy.onnx", "grounding.onnx"])
def test_several_robots_in_one_inference_get_what_each_gets_alone(name: str) -> None:
    path = resource_path("models/tabletop-small") / name
    alone = open_engine(Graph(path=path), choose("onnxruntime"))
    together = open_engine(Graph(path=path), choose("onnxruntime"), EngineOptions(batch=None))
    rng = np.random.default_rng(0)
    robots = [_random_inputs(alone.describe(), rng) for _ in range(5)]
    batch = {key: np.concatenate([each[key] for each in robots]) for key in robots[0]}
    found = together.infer(batch)
    for index, robot in enumerate(robots):
        for key, value in alone.infer(robot).items():
            np.testing.assert_allclose(found[key][index : index + 1], value, atol=2e-4, rtol=1e-4)


def _random_inputs(description: EngineDescription, rng: np.random.Generator) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for spec in description.inputs:
        shape = [int(size) for size in spec.shape]
        values = rng.uniform(0, 255 if spec.dtype == "uint8" else 0.5, shape)
        inputs[spec.name] = values.astype(spec.dtype)
    for name in ("present", "language_mask"):
        if name in inputs:
            inputs[name] = np.ones_like(inputs[name])
    return inputs


class Flaky:
    """An engine that fails as long as it is told to; otherwise it is another one."""

    def __init__(self, inner: Engine, name: str) -> None:
        self.inner, self.name, self.reason = inner, name, ""
        self.closed = False

    def describe(self) -> EngineDescription:
        return replace(self.inner.describe(), backend=self.name)

    def warm_up(self) -> None:
        self.inner.warm_up()

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        if self.reason:
            raise InferenceFailed(self.reason)
        return self.inner.infer(inputs, outputs)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pair(graph: Graph) -> tuple[Flaky, Flaky]:
    inner = open_engine(graph, choose("onnxruntime"))
    return Flaky(inner, "far"), Flaky(inner, "near")


def test_where_the_first_fails_the_second_answers_until_the_first_is_back(
    pair: tuple[Flaky, Flaky], caplog: pytest.LogCaptureFixture
) -> None:
    far, _ = pair
    engine = FallbackEngine(pair)
    inputs = example_inputs(engine.describe().inputs)
    engine.infer(inputs)
    assert engine.describe().backend == "far"
    far.reason = "the server is late"
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            engine.infer(inputs)
    described = engine.describe()
    assert described.backend == "near"
    assert described.notes["fallback"] == "far: the server is late"
    assert caplog.text.count("near answers") == 1  # a change is logged, not every inference
    far.reason = ""
    engine.infer(inputs)
    assert engine.describe().backend == "far"
    assert "fallback" not in engine.describe().notes
    assert engine.answered == {"far": 2, "near": 3}


def test_where_all_fail_nothing_comes_and_every_reason_is_given(
    pair: tuple[Flaky, Flaky],
) -> None:
    far, near = pair
    far.reason, near.reason = "late", "out of memory"
    engine = FallbackEngine(pair)
    with pytest.raises(InferenceFailed, match="far: late; near: out of memory"):
        engine.infer(example_inputs(engine.describe().inputs))


def test_closing_closes_all(pair: tuple[Flaky, Flaky]) -> None:
    FallbackEngine(pair).close()
    assert all(engine.closed for engine in pair)


def test_a_file_that_is_no_graph_is_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "no.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"no\.onnx: ONNX Runtime cannot load it"):
        open_engine(Graph(path=path), choose("onnxruntime"))
