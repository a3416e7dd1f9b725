"""JPEG, PNG and compressed depth: what comes out, and what is refused before or while decoding."""

from __future__ import annotations

import importlib
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

import cv2
import numpy as np
import pytest

from vla_ros.core.errors import ObservationError
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.observation.decompression import (
    decode_with_opencv,
    decompress_depth,
    decompress_rgb,
    find_jpeg_decoder,
)
from vla_ros.observation.image_header import read_header

TOPIC = "/camera/front/compressed"
WIDTH, HEIGHT = 64, 48
RNG = np.random.default_rng(0)


def scene(width: int = WIDTH, height: int = HEIGHT, channels: int = 3) -> np.ndarray:
    coarse = RNG.integers(0, 256, (6, 8, channels), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def encode(pixels: np.ndarray, extension: str) -> bytes:
    """Return an encoded image; colours are RGB."""
    stored = pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    done, data = cv2.imencode(extension, stored)
    assert done
    return bytes(data.tobytes())


def rgb(data: bytes, encoding: str = "jpeg", pool: ArrayPool | None = None) -> np.ndarray:
    return decompress_rgb(
        data,
        topic=TOPIC,
        encoding=encoding,
        width=WIDTH,
        height=HEIGHT,
        pool=pool or ArrayPool(),
    )


def depth(data: bytes, encoding: str = "16UC1", pool: ArrayPool | None = None) -> np.ndarray:
    return decompress_depth(
        data,
        topic=TOPIC,
        encoding=encoding,
        width=WIDTH,
        height=HEIGHT,
        pool=pool or ArrayPool(),
    )


def millimetres() -> np.ndarray:
    found = RNG.integers(200, 3000, (HEIGHT, WIDTH)).astype(np.uint16)
    found[:4] = 0
    return found


def compressed(values: np.ndarray, a: float = 0.0, b: float = 0.0) -> bytes:
    return struct.pack("<iff", 0, a, b) + encode(values, ".png")


def test_png_colours_come_back_bit_for_bit() -> None:
    pixels = scene()
    np.testing.assert_array_equal(rgb(encode(pixels, ".png"), "png"), pixels)


def test_jpeg_colours_come_back_in_the_right_order_and_nearly_the_same() -> None:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, : WIDTH // 2] = (200, 30, 10)
    pixels[:, WIDTH // 2 :] = (10, 60, 220)
    found = rgb(encode(pixels, ".jpg"))
    np.testing.assert_allclose(found[5, 5], pixels[5, 5], atol=6)
    np.testing.assert_allclose(found[5, -5], pixels[5, -5], atol=6)


def test_millimetres_become_metres_and_holes_stay_holes() -> None:
    values = millimetres()
    expected = values.astype(np.float32) * np.float32(0.001)
    np.testing.assert_array_equal(depth(compressed(values)), expected)


def test_inverse_depth_becomes_metres() -> None:
    a, most = 100.0 * 101.0, 10.0
    b = 1.0 - a / most
    metres = RNG.uniform(0.3, 3.0, (HEIGHT, WIDTH)).astype(np.float32)
    metres[:4] = 0.0
    values = np.zeros(metres.shape, np.uint16)
    values[4:] = np.round(a / metres[4:] + b)
    found = depth(compressed(values, a, b), "32FC1")
    assert (found[:4] == 0).all()
    # a step of the stored value is depth^2 / a
    np.testing.assert_array_less(np.abs(found[4:] - metres[4:]), metres[4:] ** 2 / a)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0, 1, 10, 30, 0.3, 0.6, 0.999])
def test_a_truncated_image_is_refused_and_the_topic_named(extension: str, kept: float) -> None:
    data = encode(scene(), extension)
    data = data[: kept if isinstance(kept, int) else int(kept * len(data))]
    with pytest.raises(ObservationError, match="cannot be decoded") as caught:
        rgb(data, {".jpg": "jpeg", ".png": "png"}[extension])
    assert caught.value.source == TOPIC


@pytest.mark.parametrize("kept", [0, 12, 40, 0.5, 0.99])
def test_truncated_depth_is_refused_and_the_topic_named(kept: float) -> None:
    data = compressed(millimetres())
    with pytest.raises(ObservationError) as caught:
        depth(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    assert caught.value.source == TOPIC


def test_a_corrupted_png_is_refused() -> None:
    for extension, read in ((".png", rgb), ("depth", depth)):
        colours = extension == ".png"
        data = bytearray(encode(scene(), ".png") if colours else compressed(millimetres()))
        middle = len(data) // 2
        data[middle : middle + 30] = bytes(30)
        with pytest.raises(ObservationError, match="cannot be decoded"):
            read(bytes(data), "png" if colours else "16UC1")


def test_random_damage_is_refused_or_gives_an_image_but_never_anything_else() -> None:
    whole = {"jpeg": encode(scene(), ".jpg"), "png": encode(scene(), ".png")}
    for encoding, data in whole.items():
        for _ in range(200):
            damaged = bytearray(data)
            at = int(RNG.integers(0, len(damaged)))
            damaged[at : at + 4] = RNG.bytes(len(damaged[at : at + 4]))
            with suppress(ObservationError):
                assert rgb(bytes(damaged), encoding).shape == (HEIGHT, WIDTH, 3)


def test_zeros_behind_the_end_of_a_jpeg_do_no_harm() -> None:
    data = encode(scene(), ".jpg")
    np.testing.assert_array_equal(rgb(data + bytes(500)), rgb(data))


def test_another_size_is_refused_before_it_is_decoded() -> None:
    for extension, encoding in ((".jpg", "jpeg"), (".png", "png")):
        with pytest.raises(ObservationError, match="image is 32x48 px, the contract says 64x48"):
            rgb(encode(scene(width=32), extension), encoding)
    with pytest.raises(ObservationError, match="image is 64x47 px"):
        depth(compressed(millimetres()[1:]))


@pytest.mark.parametrize(
    ("pixels", "extension", "said"),
    [
        (scene(channels=1), ".jpg", "1 channels of 8 bits, expected 3 of 8"),
        (scene(channels=1), ".png", "1 channels of 8 bits"),
        (np.dstack([scene(), scene(channels=1)]), ".png", "4 channels of 8 bits"),
        (scene().astype(np.uint16), ".png", "3 channels of 16 bits"),
    ],
    ids=["grey jpeg", "grey png", "with alpha", "16 bits"],
)
def test_another_number_of_channels_is_refused(
    pixels: np.ndarray, extension: str, said: str
) -> None:
    with pytest.raises(ObservationError, match=said):
        rgb(encode(pixels, extension), {".jpg": "jpeg", ".png": "png"}[extension])


def test_colours_are_no_depth() -> None:
    with pytest.raises(ObservationError, match="3 channels of 8 bits, expected 1 of 16 bits"):
        depth(struct.pack("<iff", 0, 0, 0) + encode(scene(), ".png"))


def test_depth_that_was_quantized_with_nonsense_is_refused() -> None:
    for a, b in ((0.0, 0.0), (float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(ObservationError, match="quantized"):
            depth(compressed(millimetres(), a, b), "32FC1")


def test_depth_without_any_point_is_refused() -> None:
    nothing = np.zeros((HEIGHT, WIDTH), np.uint16)
    for encoding in ("16UC1", "32FC1"):
        with pytest.raises(ObservationError, match="no finite point"):
            depth(compressed(nothing, 10100.0, -1009.0), encoding)


def test_a_jpeg_named_png_is_refused() -> None:
    with pytest.raises(ObservationError, match="the image is jpeg, expected png"):
        rgb(encode(scene(), ".jpg"), "png")


def test_a_stream_needs_no_new_arrays() -> None:
    pool, data, depths = ArrayPool(), encode(scene(), ".jpg"), compressed(millimetres())
    for _ in range(2):
        rgb(data, pool=pool)
        depth(depths, pool=pool)
    made = pool.made
    for _ in range(10):
        rgb(data, pool=pool)
        depth(depths, pool=pool)
    assert pool.made == made


def test_headers_tell_what_opencv_wrote() -> None:
    for extension, encoding in ((".jpg", "jpeg"), (".png", "png")):
        header = read_header(encode(scene(), extension))
        assert (header.encoding, header.width, header.height) == (encoding, WIDTH, HEIGHT)
        assert (header.channels, header.bits) == (3, 8)


@pytest.fixture
def turbojpeg() -> Iterator[None]:
    """PyTurboJPEG with its library; skipped where one of them is missing."""
    try:
        importlib.import_module("turbojpeg").TurboJPEG()
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"needs PyTurboJPEG and libturbojpeg: {error}")
    find_jpeg_decoder.cache_clear()
    yield
    find_jpeg_decoder.cache_clear()


@pytest.mark.usefixtures("turbojpeg")
def test_turbojpeg_decodes_into_the_array_what_opencv_decodes() -> None:
    data = encode(scene(), ".jpg")
    decode = find_jpeg_decoder()
    assert decode is not decode_with_opencv
    mine, other = (np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(2))
    assert decode(data, mine)
    assert decode_with_opencv(data, other)
    np.testing.assert_allclose(mine.astype(int), other.astype(int), atol=3)
    for damaged in (b"\xff\xd8 no image", data[: len(data) // 2], b""):
        assert not decode(damaged, mine), "what was in the array before is no image"


def test_without_turbojpeg_opencv_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "turbojpeg", None)
    find_jpeg_decoder.cache_clear()
    try:
        assert find_jpeg_decoder() is decode_with_opencv
    finally:
        find_jpeg_decoder.cache_clear()
