from __future__ import annotations

import array
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from vla_ros.core.errors import ObservationError
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.ros.images import FORMATS, read_compressed, read_depth, read_rgb, write_image

TOPIC = "/camera/front/image_raw"
WIDTH, HEIGHT = 12, 8
RNG = np.random.default_rng(0)


def image(encoding: str, *, low: int = 1) -> Image:
    pixel = FORMATS[encoding]
    shape = (HEIGHT, WIDTH) if pixel.channels == 1 else (HEIGHT, WIDTH, pixel.channels)
    pixels = RNG.integers(low, 200, shape).astype(pixel.dtype)
    return write_image(pixels, encoding=encoding, stamp_ns=5, frame_id="camera")


def read(message: Image | CompressedImage, encoding: str, *, depth: bool) -> np.ndarray:
    if isinstance(message, Image):
        convert: Callable[..., np.ndarray] = read_depth if depth else read_rgb
    else:
        convert = partial(read_compressed, depth=depth, pool=ArrayPool())
    return convert(message, topic=TOPIC, encoding=encoding, width=WIDTH, height=HEIGHT)


def rgb(message: Image | CompressedImage, encoding: str = "rgb8") -> np.ndarray:
    return read(message, encoding, depth=False)


def depth(message: Image | CompressedImage, encoding: str = "32FC1") -> np.ndarray:
    return read(message, encoding, depth=True)


def test_colours_come_back_as_they_were_written() -> None:
    pixels = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    message = write_image(pixels, encoding="rgb8", stamp_ns=1_500_000_000, frame_id="camera")
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 500_000_000)
    np.testing.assert_array_equal(rgb(message), pixels)


@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "bgra8", "mono8"])
def test_other_colour_orders_become_rgb(encoding: str) -> None:
    message = image(encoding)
    stored = np.frombuffer(message.data, np.uint8).reshape(HEIGHT, WIDTH, -1)
    order = {"bgr8": [2, 1, 0], "rgba8": [0, 1, 2], "bgra8": [2, 1, 0], "mono8": [0, 0, 0]}
    np.testing.assert_array_equal(rgb(message, encoding), stored[..., order[encoding]])


def test_millimetres_become_metres() -> None:
    millimetres = np.full((HEIGHT, WIDTH), 1250, np.uint16)
    message = write_image(millimetres, encoding="16UC1", stamp_ns=1, frame_id="camera")
    np.testing.assert_allclose(depth(message, "16UC1"), 1.25)


def test_big_endian_depth_is_read_right() -> None:
    metres = np.full((HEIGHT, WIDTH), 0.75, np.float32)
    message = write_image(metres, encoding="32FC1", stamp_ns=1, frame_id="camera")
    message.data = array.array("B", metres.astype(">f4").tobytes())
    message.is_bigendian = 1
    np.testing.assert_allclose(depth(message), 0.75)


def test_padded_rows_are_cut() -> None:
    pixels = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    padded = np.zeros((HEIGHT, WIDTH * 3 + 4), np.uint8)
    padded[:, : WIDTH * 3] = pixels.reshape(HEIGHT, -1)
    message = write_image(pixels, encoding="rgb8", stamp_ns=1, frame_id="camera")
    message.step = WIDTH * 3 + 4
    message.data = array.array("B", padded.tobytes())
    np.testing.assert_array_equal(rgb(message), pixels)


def test_holes_in_the_depth_are_zero_whatever_marked_them() -> None:
    metres = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    metres[0, :4] = [np.nan, np.inf, -np.inf, -1.0]
    message = write_image(metres, encoding="32FC1", stamp_ns=1, frame_id="camera")
    np.testing.assert_array_equal(depth(message)[0, :5], np.array([0, 0, 0, 0, 0.5], np.float32))


def test_depth_without_any_point_is_refused() -> None:
    metres = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    message = write_image(metres, encoding="32FC1", stamp_ns=1, frame_id="camera")
    with pytest.raises(ObservationError, match="no finite point"):
        depth(message)


def test_a_wrong_encoding_names_topic_and_both_encodings() -> None:
    with pytest.raises(ObservationError) as caught:
        rgb(image("bgr8"))
    assert str(caught.value) == f"{TOPIC}: encoding is 'bgr8', the contract says 'rgb8'"


def test_a_wrong_size_names_topic_and_both_sizes() -> None:
    pixels = np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8)
    message = write_image(pixels, encoding="rgb8", stamp_ns=1, frame_id="camera")
    with pytest.raises(ObservationError, match="image is 13x8 px, the contract says 12x8 px"):
        rgb(message)


def test_missing_bytes_are_refused() -> None:
    message = image("rgb8")
    message.data = message.data[:-1]
    with pytest.raises(ObservationError, match="287 bytes with step 36"):
        rgb(message)


def test_a_step_shorter_than_a_row_is_refused() -> None:
    message = image("rgb8")
    message.step = 35
    message.data = message.data[: 35 * HEIGHT]
    with pytest.raises(ObservationError, match="step of at least 36"):
        rgb(message)


def test_png_is_decoded_and_rubbish_is_refused() -> None:
    pixels = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    done, data = cv2.imencode(".png", pixels[..., ::-1])
    assert done
    message = CompressedImage(format="png", data=array.array("B", data.tobytes()))
    np.testing.assert_array_equal(rgb(message, "png"), pixels)
    for rubbish in (b"no image", b""):
        message.data = array.array("B", rubbish)
        said = f"{TOPIC}: the image cannot be decoded: {len(rubbish)} bytes that are neither"
        with pytest.raises(ObservationError, match=said):
            rgb(message, "png")


@pytest.mark.parametrize(
    ("extension", "encoding", "written"),
    [
        (".jpg", "jpeg", "jpeg"),
        (".jpg", "jpeg", "JPG"),
        (".jpg", "jpeg", "rgb8; jpeg compressed bgr8"),
        (".png", "png", "bgr8; png compressed bgr8"),
    ],
)
def test_the_ways_in_which_drivers_write_a_format_are_understood(
    extension: str, encoding: str, written: str
) -> None:
    done, data = cv2.imencode(extension, np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    assert done
    message = CompressedImage(format=written, data=array.array("B", data.tobytes()))
    np.testing.assert_allclose(rgb(message, encoding), 90, atol=2)


@pytest.mark.parametrize("written", ["jpeg", "rgb8; jpeg compressed bgr8", ""])
def test_a_compressed_image_of_another_format_names_topic_and_both_formats(written: str) -> None:
    done, data = cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert done
    message = CompressedImage(format=written, data=array.array("B", data.tobytes()))
    with pytest.raises(ObservationError) as caught:
        rgb(message, "png")
    assert str(caught.value) == f"{TOPIC}: format is '{written}', the contract says 'png'"


def test_a_compressed_image_of_another_size_is_refused() -> None:
    done, data = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))
    assert done
    message = CompressedImage(format="png", data=array.array("B", data.tobytes()))
    with pytest.raises(ObservationError, match="4x4 px, the contract says 12x8 px"):
        rgb(message, "png")


def test_writing_the_wrong_element_type_is_our_bug() -> None:
    with pytest.raises(TypeError, match="'32FC1' takes f4, got float64"):
        write_image(np.zeros((2, 2)), encoding="32FC1", stamp_ns=0, frame_id="")  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["rgb8", "32FC1"])
def test_what_needs_no_conversion_is_the_messages_own_memory(encoding: str) -> None:
    message = image(encoding)
    found = read(message, encoding, depth=encoding == "32FC1")
    assert np.shares_memory(found, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "mono8", "16UC1"])
def test_a_stream_that_is_converted_needs_no_new_arrays_but_for_what_is_held(
    encoding: str,
) -> None:
    pool, messages = ArrayPool(), [image(encoding) for _ in range(8)]
    convert: Callable[..., np.ndarray] = read_depth if encoding == "16UC1" else read_rgb
    said = {"topic": TOPIC, "encoding": encoding, "width": WIDTH, "height": HEIGHT}
    for message in messages:
        convert(message, **said, pool=pool)
    made = pool.made
    held = [convert(message, **said, pool=pool) for message in messages[:4]]
    assert pool.made == made + 3
    for message, value in zip(messages, held, strict=False):
        np.testing.assert_array_equal(value, convert(message, **said))
