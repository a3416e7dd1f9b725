"""What travels between robots and servers of graphs, and what is refused."""

from __future__ import annotations

import contextlib
import pickle
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.engine.engine import EngineDescription, TensorSpec
from vla_ros.engine.remote.messages import (
    DTYPES,
    MAX_BYTES,
    MalformedMessage,
    pack,
    pack_arrays,
    pack_description,
    unpack,
    unpack_arrays,
    unpack_description,
    unpack_sequence,
)


def array(**changes: Any) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [2, 3], "data": bytes(24)} | changes


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_every_type_and_shape_comes_back_as_it_went(name: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    value = rng.integers(0, 2 if name == "bool" else 100, shape).astype(name)
    message = pack(7, {"inputs": pack_arrays({"x": value})})
    (found,) = unpack_arrays(unpack(message)["inputs"]).values()
    assert unpack_sequence(message) == 7
    assert found.dtype.name == name
    np.testing.assert_array_equal(found, value)


def test_an_array_that_lies_anyhow_in_memory_or_is_big_endian_keeps_its_values() -> None:
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    for sent in (value[:, ::2], value.T, value.astype(">f4")):
        body = unpack(pack(1, {"x": pack_arrays({"x": sent})}))
        np.testing.assert_array_equal(unpack_arrays(body["x"])["x"], sent)


def test_what_comes_cannot_be_written_to() -> None:
    body = unpack(pack(1, {"x": pack_arrays({"x": np.zeros(3)})}))
    assert not unpack_arrays(body["x"])["x"].flags.writeable


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([{}], object), np.zeros(2, complex)])
def test_types_that_do_not_travel_are_named(value: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"^odd: .* does not travel"):
        pack_arrays({"odd": value})


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (array(dtype="object"), "expected one of bool"),
        (array(dtype="float128"), "expected one of bool"),
        (array(dtype=["float32"]), "expected one of bool"),
        (array(shape=[2, -3]), "expected a shape"),
        (array(shape=[2.0, 3]), "expected a shape"),
        (array(shape=[True, 6]), "expected a shape"),
        (array(shape=[1] * 9), "expected a shape"),
        (array(shape=[2**40, 2**40]), "expected a shape"),
        (array(shape=[2**26] * 8), "expected .* bytes .*, got 24 bytes"),
        (array(data=bytes(23)), "expected 24 bytes .*, got 23 bytes"),
        (array(data="x" * 24), "expected 24 bytes .*, got str"),
        (array(more=1), "expected dtype, shape and data"),
        ([1, 2], "expected dtype, shape and data"),
    ],
)
def test_an_array_that_lies_about_itself_is_named(packed: object, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=f"^x: {reason}"):
        unpack_arrays({"x": packed})


@pytest.mark.parametrize(
    "body",
    [
        pickle.dumps({"x": 1}),
        msgpack.packb([1, 2]),
        msgpack.packb({1: 2}),
        msgpack.packb({"x": msgpack.ExtType(5, b"code")}),
        msgpack.packb({"x": msgpack.Timestamp(1)}),
        msgpack.packb({"x": ["y"] * 2000}),
        msgpack.packb({"x": "y" * 100_000}),
        msgpack.packb({"x": 1}) + b"more",
        b"\x81\xa1x" + b"\x91" * 5000,
        b"\xdf\xff\xff\xff\xff",
        b"",
    ],
)
def test_what_is_no_map_of_plain_values_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        unpack(struct.pack("<Q", 1) + body)


def test_a_message_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedMessage, match=f"{MAX_BYTES} bytes at most"):
        unpack(bytes(MAX_BYTES + 1))


def test_every_truncation_of_a_message_is_refused() -> None:
    message = pack(1, {"inputs": pack_arrays({"x": np.arange(5.0)}), "outputs": None})
    for length in range(len(message)):
        with pytest.raises(MalformedMessage):
            unpack(message[:length])


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        found = unpack_arrays(unpack(data).get("inputs"))
        assert all(value.dtype.name in DTYPES for value in found.values())


def test_a_description_comes_back_as_it_went() -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=("batch", 3))
    sent = EngineDescription(
        backend="onnxruntime",
        version="1",
        device="CPU",
        precision="fp32",
        graph="a.onnx",
        sha256="0" * 64,
        inputs=(spec,),
        outputs=(spec,),
        notes={"provider": "CPU"},
    )
    body = unpack(pack(0, {"description": pack_description(sent)}))
    assert unpack_description(body["description"]) == sent


@pytest.mark.parametrize(
    "change",
    [{"sha256": 3}, {"inputs": None}, {"outputs": [["x", "object", []]]}, {"inputs": [["x"]]}],
)
def test_a_description_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    keys = ("backend", "version", "device", "precision", "graph", "sha256")
    good: dict[str, Any] = dict.fromkeys(keys, "x") | {"inputs": [], "outputs": []}
    unpack_description(good)
    with pytest.raises(MalformedMessage, match="description: "):
        unpack_description(good | change)
