"""What every engine must do: subclass `EngineConformance` in a test file of the backend.

Longer than usual, so that a backend has one class to subclass.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import BATCH, Engine, EngineDescription, EngineOptions, Graph
from vla_ros.testing.small_graph import small_graph_inputs, write_small_graph

#: What most of an engine may compute in.
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")

Inputs = Mapping[str, NDArray[Any]]
Open = Callable[..., Engine]


class EngineConformance(ABC):
    """The tests; a subclass says what is tested.

    Attributes:
        tolerance: How far an output may be from ONNX Runtime's on the CPU, as a share of that
            output's largest value if it is above 1.
        argument: What the tested engines are loaded with.
        bad_argument: What the backend refuses as an argument; None if it takes anything.
        rows: Robots that an engine with an open batch is asked to serve at once, in turn.
        threads: CPU threads that the engines get.
    """

    tolerance = 1e-4
    argument = ""
    bad_argument: str | None = "cray"
    rows: tuple[int, ...] = (1, 3)
    threads = 1

    @property
    @abstractmethod
    def backend(self) -> str:
        """Name of the backend, without an argument."""

    @abstractmethod
    def load(self, graph: Graph, options: EngineOptions) -> Engine:
        """Return the engine; this is the backend's own function."""

    def make_graph(self, folder: Path) -> Graph:
        """Return the graph that is run; its first dimension is `batch` everywhere."""
        return Graph(path=write_small_graph(folder / "small.onnx"))

    def make_inputs(self, batch: int, seed: int) -> Inputs:
        """Return inputs of that graph, other ones for another seed."""
        return small_graph_inputs(batch, seed)

    @pytest.fixture
    def graph(self, tmp_path: Path) -> Graph:
        """The graph."""
        return self.make_graph(tmp_path)

    @pytest.fixture(scope="class")
    @classmethod
    def cache(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Folder of what engines keep, shared so that they are built once."""
        return tmp_path_factory.mktemp("engines")

    @pytest.fixture
    def open_engine(self, graph: Graph, cache: Path) -> Iterator[Open]:
        """Open engines of the graph; they are closed with the test."""
        opened: list[Engine] = []

        def open_(graph: Graph = graph, **options: Any) -> Engine:
            options.setdefault("argument", self.argument)
            options.setdefault("threads", self.threads)
            opened.append(self.load(graph, EngineOptions(cache=cache, **options)))
            return opened[-1]

        yield open_
        for engine in opened:
            engine.close()

    @pytest.fixture
    def engine(self, open_engine: Open) -> Engine:
        """An engine for one robot."""
        return open_engine()

    @pytest.fixture
    def reference(self, graph: Graph) -> onnxruntime.InferenceSession:
        """What the outputs are compared with."""
        return onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])

    def test_it_says_what_runs_where(
        self, engine: Engine, graph: Graph, reference: onnxruntime.InferenceSession
    ) -> None:
        """A report stands on it."""
        found = engine.describe()
        wanted = f"{self.backend}:{self.argument}" if self.argument else self.backend
        assert found.backend == wanted
        assert found.version
        assert found.device
        assert found.precision in PRECISIONS
        assert (found.graph, found.sha256) == (graph.path.name, graph.sha256)
        for specs, known in (
            (found.inputs, reference.get_inputs()),
            (found.outputs, reference.get_outputs()),
        ):
            shapes = {spec.name: spec.shape for spec in specs}
            assert shapes == {
                item.name: tuple(1 if size == BATCH else size for size in item.shape)
                for item in known
            }
        inputs = self.make_inputs(1, seed=0)
        assert {spec.name: spec.dtype for spec in found.inputs} == {
            name: value.dtype.name for name, value in inputs.items()
        }

    def test_another_thread_may_ask_what_runs(self, engine: Engine) -> None:
        """Diagnostics are told while an inference runs."""
        heard: list[EngineDescription] = []
        thread = threading.Thread(target=lambda: heard.append(engine.describe()))
        thread.start()
        engine.infer(self.make_inputs(1, seed=0))
        thread.join(10.0)
        now = engine.describe()
        assert [replace(found, notes={}) for found in heard] == [replace(now, notes={})]

    @pytest.mark.parametrize("seed", [1, 2])
    def test_it_computes_what_the_reference_computes(
        self, engine: Engine, reference: onnxruntime.InferenceSession, seed: int
    ) -> None:
        """To the stated tolerance, in every output."""
        inputs = self.make_inputs(1, seed)
        self._require_near(engine.infer(inputs), _reference(reference, inputs))

    def test_the_same_input_gives_the_same_output(self, engine: Engine) -> None:
        """Bit for bit, whatever was asked in between."""
        first = _kept(engine.infer(self.make_inputs(1, seed=1)))
        engine.infer(self.make_inputs(1, seed=2))
        again = engine.infer(self.make_inputs(1, seed=1))
        for name, value in first.items():
            np.testing.assert_array_equal(again[name], value, err_msg=name)

    def test_other_inputs_give_other_outputs(self, engine: Engine) -> None:
        """An engine that has wired its inputs wrongly may answer the same to everything."""
        first = _kept(engine.infer(self.make_inputs(1, seed=1)))
        second = engine.infer(self.make_inputs(1, seed=2))
        assert any(not np.array_equal(first[name], second[name]) for name in first)

    def test_what_is_wanted_is_returned_and_nothing_else(self, engine: Engine) -> None:
        """With the values that it has among all outputs."""
        inputs = self.make_inputs(1, seed=1)
        everything = _kept(engine.infer(inputs))
        assert set(everything) == {spec.name for spec in engine.describe().outputs}
        for name, value in everything.items():
            found = engine.infer(inputs, [name])
            assert set(found) == {name}
            self._require_near(found, {name: value})

    def test_an_output_that_does_not_exist_is_named_beside_those_that_do(
        self, engine: Engine
    ) -> None:
        """So that a typing error is found by reading the message."""
        with pytest.raises(ValueError, match="'nonsense'") as caught:
            engine.infer(self.make_inputs(1, seed=0), ["nonsense"])
        for spec in engine.describe().outputs:
            assert spec.name in str(caught.value)

    def test_inputs_are_not_changed(self, engine: Engine) -> None:
        """They are the sensors' own memory."""
        inputs = self.make_inputs(1, seed=1)
        before = {name: value.tobytes() for name, value in inputs.items()}
        engine.infer(inputs)
        assert {name: value.tobytes() for name, value in inputs.items()} == before

    def test_inputs_may_be_read_only_and_lie_anyhow_in_memory(self, engine: Engine) -> None:
        """Message buffers are read-only, and crops of images are not contiguous."""
        inputs = self.make_inputs(1, seed=1)
        plain = _kept(engine.infer(inputs))
        for arrange in (_read_only, _every_second):
            found = engine.infer({name: arrange(value) for name, value in inputs.items()})
            for name, value in plain.items():
                np.testing.assert_array_equal(found[name], value, err_msg=name)

    def test_what_the_graph_does_not_take_is_left_alone(self, engine: Engine) -> None:
        """One set of inputs serves several graphs."""
        inputs = self.make_inputs(1, seed=1)
        plain = _kept(engine.infer(inputs))
        more = engine.infer({**inputs, "something else": np.zeros(3, np.float32)})
        for name, value in plain.items():
            np.testing.assert_array_equal(more[name], value, err_msg=name)

    def test_every_input_that_is_missing_is_named(self, engine: Engine) -> None:
        """Nothing is filled in."""
        inputs = self.make_inputs(1, seed=0)
        for name in inputs:
            rest = {key: value for key, value in inputs.items() if key != name}
            with pytest.raises(ValueError, match=rf"'{name}' is missing"):
                engine.infer(rest)

    def test_every_input_of_another_type_is_named(self, engine: Engine) -> None:
        """Nothing is converted silently."""
        inputs = self.make_inputs(1, seed=0)
        for name, value in inputs.items():
            with pytest.raises(ValueError, match=rf"'{name}': expected .*float64"):
                engine.infer({**inputs, name: value.astype(np.float64)})

    def test_every_input_of_another_shape_is_named(self, engine: Engine) -> None:
        """A row more, or a dimension more."""
        inputs = self.make_inputs(1, seed=0)
        for name, value in inputs.items():
            for other in (np.concatenate([value, value], axis=-1), value[None]):
                with pytest.raises(ValueError, match=rf"'{name}': expected"):
                    engine.infer({**inputs, name: other})

    def test_after_a_refusal_it_goes_on(self, engine: Engine) -> None:
        """A bad message must not end the policy."""
        inputs = self.make_inputs(1, seed=1)
        first = _kept(engine.infer(inputs))
        with pytest.raises(ValueError, match="is missing"):
            engine.infer({})
        for name, value in engine.infer(inputs).items():
            np.testing.assert_array_equal(value, first[name], err_msg=name)

    def test_an_engine_for_two_robots_takes_two_and_refuses_one(
        self, open_engine: Open, reference: onnxruntime.InferenceSession
    ) -> None:
        """What the batch is fixed to is what inputs are checked against."""
        engine = open_engine(batch=2)
        assert {spec.shape[0] for spec in engine.describe().inputs} == {2}
        inputs = self.make_inputs(2, seed=1)
        self._require_near(engine.infer(inputs), _reference(reference, inputs))
        with pytest.raises(ValueError, match="expected"):
            engine.infer(self.make_inputs(1, seed=1))

    def test_an_open_batch_serves_any_number_of_robots(
        self, open_engine: Open, reference: onnxruntime.InferenceSession
    ) -> None:
        """One engine, more robots from one inference to the next, and fewer again."""
        engine = open_engine(batch=None)
        assert {spec.shape[0] for spec in engine.describe().inputs} == {BATCH}
        for count in (*self.rows, self.rows[0]):
            inputs = self.make_inputs(count, seed=count)
            self._require_near(engine.infer(inputs), _reference(reference, inputs))

    def test_warming_up_changes_nothing(self, open_engine: Open) -> None:
        """It is done before a robot may move, and leaves no trace in what is inferred."""
        inputs = self.make_inputs(1, seed=1)
        cold, warm = open_engine(), open_engine()
        warm.warm_up()
        expected = _kept(cold.infer(inputs))
        self._require_near(warm.infer(inputs), expected)
        open_engine(batch=None).warm_up()

    def test_closing_one_engine_leaves_another_alone(
        self, open_engine: Open, graph: Graph, cache: Path
    ) -> None:
        """A policy is replaced while it runs."""
        inputs = self.make_inputs(1, seed=1)
        kept = open_engine()
        before = _kept(kept.infer(inputs))
        options = EngineOptions(argument=self.argument, threads=self.threads, cache=cache)
        gone = self.load(graph, options)
        gone.infer(inputs)
        gone.close()
        for name, value in kept.infer(inputs).items():
            np.testing.assert_array_equal(value, before[name], err_msg=name)

    @pytest.mark.parametrize("content", [b"", b"this is no graph\n" * 9, None])
    def test_a_file_that_is_no_graph_is_named(
        self, tmp_path: Path, open_engine: Open, content: bytes | None
    ) -> None:
        """Empty, something else, or not there."""
        path = tmp_path / "broken.onnx"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(EngineError, match=r"broken\.onnx"):
            open_engine(Graph(path=path))

    def test_an_argument_that_it_does_not_know_is_named(self, open_engine: Open) -> None:
        """What was asked for is done or refused, never guessed."""
        if self.bad_argument is None:
            pytest.skip("takes any argument")
        with pytest.raises(EngineError, match=self.bad_argument):
            open_engine(argument=self.bad_argument)

    def _require_near(self, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        assert set(found) == set(expected)
        for name, value in expected.items():
            got = np.asarray(found[name])
            assert got.shape == value.shape, name
            assert got.dtype == value.dtype, name
            bound = self.tolerance * max(1.0, float(np.abs(value).max()))
            error = float(np.abs(got.astype(np.float64) - value).max())
            assert error <= bound, f"{name} is off by {error:.2g}, at most {bound:.2g}"


def _reference(session: onnxruntime.InferenceSession, inputs: Inputs) -> dict[str, Any]:
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _kept(outputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return copies: what an engine gives is good until it is asked again."""
    return {name: np.array(value) for name, value in outputs.items()}


def _read_only(value: NDArray[Any]) -> NDArray[Any]:
    value = value.copy()
    value.setflags(write=False)
    return value


def _every_second(value: NDArray[Any]) -> NDArray[Any]:
    """Return the same values, each followed in memory by one that does not count."""
    wide = np.repeat(value, 2, axis=-1)
    wide[..., 1::2] = 77
    return wide[..., ::2]
