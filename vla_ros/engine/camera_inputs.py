"""What a graph reads of an observation's cameras."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import ObservationError
from vla_ros.core.types import Observation
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.observation.images import without_holes
from vla_ros.policy.configuration import CAMERAS, MODALITIES, PolicyConfig


def camera_inputs(
    config: PolicyConfig, observation: Observation, pool: ArrayPool | None = None
) -> dict[str, NDArray[np.generic]]:
    """Return image and depth of each camera, a batch of one, and which modalities are `present`.

    An image, and a depth without NaN or infinity, is the observation's own memory; what has to be
    mended is in arrays of `pool`. Either lives as long as somebody holds it.

    Raises:
        ObservationError: if no camera is there, or an image is malformed; names it.
    """
    present = np.ones((1, len(MODALITIES)), np.float32)
    inputs: dict[str, NDArray[np.generic]] = {}
    for index, camera in enumerate(CAMERAS):
        size = config.cameras[camera]
        image = observation.images.get(camera)
        depth = observation.depths.get(camera)
        shape = (size.height, size.width)
        present[0, index] = image is not None
        present[0, 2 + index] = image is not None and depth is not None
        inputs[f"rgb_{camera}"] = checked(
            image, (*shape, 3), np.uint8, f"observation.images.{camera}"
        )
        metres = checked(depth, shape, np.float32, f"observation.depth.{camera}")
        inputs[f"depth_{camera}"] = without_holes(metres.astype(np.float32, copy=False), pool)
    if not present[0, :2].any():
        raise ObservationError("observation.images", "the policy needs one camera at least")
    present[0, MODALITIES.index("imu")] = observation.imu is not None
    return inputs | {"present": present}


def checked(
    value: NDArray[np.generic] | None,
    shape: tuple[int, ...],
    dtype: type[np.generic],
    feature: str,
) -> NDArray[np.generic]:
    """Return `value` as a batch of one; what is missing is zero, and masked in the network.

    Raises:
        ObservationError: if it has another shape or type; names the feature.
    """
    if value is None:
        return _nothing(shape, np.dtype(dtype).name)
    if value.shape != shape or value.dtype != dtype:
        raise ObservationError(
            feature,
            f"expected {np.dtype(dtype).name} of shape {shape}, "
            f"got {value.dtype} of shape {value.shape}",
        )
    return np.ascontiguousarray(value)[None]


@cache
def _nothing(shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    """Return the zeros that stand for what is missing, the same each time; nobody writes there."""
    return np.zeros((1, *shape), dtype)
