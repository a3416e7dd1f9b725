"""Makes of an observation and an instruction what a declared graph takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vla_ros.core.errors import BundleError, InstructionRejected, ObservationError
from vla_ros.core.types import Float32Array, UInt8Array
from vla_ros.engine.signature import ImageInput, Normalization, TaskInput

Inputs = dict[str, NDArray[np.generic]]


def image_input(declared: ImageInput, image: UInt8Array | None) -> NDArray[np.generic]:
    """Return an image as it is declared, a batch of one.

    Raises:
        ObservationError: if it is missing, or of another size or type; names the feature.
    """
    shape = (declared.height, declared.width, 3)
    if image is None:
        raise ObservationError(declared.feature, "is missing, and the policy takes it")
    if image.shape != shape or image.dtype != np.uint8:
        raise ObservationError(
            declared.feature,
            f"expected uint8 of shape {shape}, got {image.dtype} of shape {image.shape}",
        )
    value: NDArray[np.generic] = image
    if declared.dtype == "float32":
        scaled = image.astype(np.float32) * np.float32(declared.scale)
        value = normalize(scaled, declared.normalization)
    if declared.layout == "chw":
        value = value.transpose(2, 0, 1)
    return np.ascontiguousarray(value)[None]


def normalize(value: Float32Array, normalization: Normalization) -> Float32Array:
    """Return values normalized along their last axis; without a normalization as they are."""
    if not normalization.mean:
        return value
    mean, std = (np.asarray(each, np.float32) for each in (normalization.mean, normalization.std))
    normalized: Float32Array = (value - mean) / std
    return normalized


def make_tokenizer(task: TaskInput) -> Tokenizer:
    """Return the declared tokenizer.

    Raises:
        BundleError: if its file is none.
    """
    try:
        return Tokenizer.from_file(str(task.tokenizer))
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"{task.tokenizer}: is not a tokenizer: {error}") from error


def task_inputs(task: TaskInput, tokenizer: Tokenizer, text: str) -> Inputs:
    """Return an instruction as tokens, and as a mask where one is declared, a batch of one.

    Raises:
        InstructionRejected: if it has more tokens than the policy reads.
    """
    if task.suffix and not text.endswith(task.suffix):
        text += task.suffix
    ids = tokenizer.encode(text).ids
    if len(ids) > task.length:
        raise InstructionRejected(
            f"the instruction has {len(ids)} word pieces; the policy reads {task.length}. "
            "Say it in fewer words."
        )
    numbers = np.full((1, task.length), task.pad, np.int64)
    numbers[0, : len(ids)] = ids
    inputs: Inputs = {task.tensor: numbers}
    if task.mask:
        inputs[task.mask] = np.arange(task.length)[None] < len(ids)
    return inputs
