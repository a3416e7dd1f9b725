from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vla_ros.engine.engine import Arrays, EngineDescription, TensorSpec
from vla_ros.engine.exporting.parity import ParityError, compare, require_parity


class Answers:
    """An engine that answers what it was given, whatever it is asked."""

    def __init__(self, **outputs: Any) -> None:
        self._outputs = {name: np.asarray(value, np.float32) for name, value in outputs.items()}

    def describe(self) -> EngineDescription:
        specs = tuple(
            TensorSpec(name=name, dtype="float32", shape=value.shape)
            for name, value in self._outputs.items()
        )
        return EngineDescription(
            backend="answers",
            version="1",
            device="none",
            precision="fp32",
            graph="none.onnx",
            sha256="",
            inputs=(),
            outputs=specs,
        )

    def warm_up(self) -> None:
        pass

    def infer(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        del inputs, outputs
        return dict(self._outputs)

    def close(self) -> None:
        pass


def test_equal_outputs_are_equal_even_if_all_are_zero() -> None:
    (found,) = compare(Answers(chunk=[[0.0, 0.0]]), Answers(chunk=[[0.0, 0.0]]), [{}])
    assert (found.max_error, found.mean_error, found.cosine) == (0.0, 0.0, 1.0)
    require_parity("policy.onnx", [found], "fp32")


def test_the_worst_output_is_named_with_its_error_and_what_is_allowed() -> None:
    torch = Answers(chunk=[[0.5, 1.0]], progress=[[0.5, 0.5]])
    made = Answers(chunk=[[0.5, 1.0003]], progress=[[0.50005, 0.5]])
    found = compare(torch, made, [{}])
    with pytest.raises(ParityError) as error:
        require_parity("policy.onnx", found, "fp32")
    assert "worst output 'chunk'" in str(error.value)
    assert "largest difference 0.0003" in str(error.value)
    assert "largest 0.0001" in str(error.value)


def test_differences_count_as_shares_of_large_values() -> None:
    found = compare(Answers(pixel=[[200.0, 1.0]]), Answers(pixel=[[200.01, 1.0]]), [{}])
    require_parity("grounding.onnx", found, "fp32")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_value_that_is_no_number_is_never_within_tolerance(precision: str) -> None:
    found = compare(Answers(chunk=[[1.0, 1.0]]), Answers(chunk=[[1.0, np.nan]]), [{}])
    with pytest.raises(ParityError, match="worst output 'chunk'"):
        require_parity("policy.onnx", found, precision)


def test_where_torch_itself_gives_no_number_nothing_is_within_tolerance() -> None:
    (found,) = compare(Answers(chunk=[[1.0, np.nan]]), Answers(chunk=[[1.0, 1.0]]), [{}])
    assert found.max_error == np.inf
    with pytest.raises(ParityError, match="worst output 'chunk'"):
        require_parity("policy.onnx", [found], "fp32")


def test_one_value_may_jump_in_int8_but_not_all_of_them() -> None:
    values = np.ones((1, 1000))
    jump = values.copy()
    jump[0, 0] = 1.5
    require_parity("g", compare(Answers(map=values), Answers(map=jump), [{}]), "int8")
    with pytest.raises(ParityError, match=r"mean 0\.02"):
        require_parity("g", compare(Answers(map=values), Answers(map=values + 0.02), [{}]), "int8")


def test_where_a_point_is_that_is_not_seen_does_not_count() -> None:
    torch = Answers(points=[[[0.1, 0.2, 0.0, 1.0], [0.3, 0.3, 0.3, 0.0]]])
    made = Answers(points=[[[0.1, 0.2, 0.0, 1.0], [9.0, 9.0, 9.0, 0.0]]])
    (found,) = compare(torch, made, [{}])
    assert found.max_error == 0.0
    seen_elsewhere = Answers(points=[[[0.2, 0.2, 0.0, 1.0], [0.3, 0.3, 0.3, 0.0]]])
    (found,) = compare(torch, seen_elsewhere, [{}])
    assert found.max_error == pytest.approx(0.1, abs=1e-6)


def _regions(order: Sequence[int]) -> Answers:
    """Three regions of which two are there, pointers and a none, in some order."""
    regions = np.array(
        [[[0, 0, 0, 0.9, 10, 10], [1, 1, 1, 0.8, 50, 50], [2, 2, 2, 0.0, 90, 90]]], np.float32
    )
    pointers = np.array([[[0.7, 0.2, 0.0, 0.1], [0.0, 0.0, 0.0, 1.0]]], np.float32)
    return Answers(
        regions=regions[:, order],
        embedding=np.eye(3, dtype=np.float32)[None][:, order],
        pointers=pointers[..., [*order, 3]],
    )


def test_regions_are_a_set_unless_exactness_is_asked_for() -> None:
    found = compare(_regions([0, 1, 2]), _regions([1, 0, 2]), [{}])
    assert max(each.max_error for each in found) == 0.0
    exact = compare(_regions([0, 1, 2]), _regions([1, 0, 2]), [{}], exact=True)
    assert max(each.max_error for each in exact) == 40.0


def test_a_region_that_only_one_of_them_sees_counts() -> None:
    there, gone = _regions([0, 1, 2]), _regions([0, 1, 2])
    lost = gone.infer({})["regions"].copy()
    lost[0, 1, 3] = 0.0
    found = compare(there, Answers(**{**gone.infer({}), "regions": lost}), [{}])
    assert next(each for each in found if each.output == "regions").max_error >= 0.8


def test_values_that_are_almost_zero_have_no_direction() -> None:
    (found,) = compare(
        Answers(points=[[[2e-8, 0, 0, 0]]]), Answers(points=[[[0, 2e-8, 0, 0]]]), [{}]
    )
    require_parity("policy.onnx", [found], "fp32")
    (found,) = compare(Answers(map=[[2e-3, 0]]), Answers(map=[[0, 2e-3]]), [{}])
    with pytest.raises(ParityError, match="cosine 0"):
        require_parity("policy.onnx", [found], "int8")
