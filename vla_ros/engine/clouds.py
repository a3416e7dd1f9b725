"""The points that a policy with the depth encoder `points` reads, of its front camera."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import BundleError
from vla_ros.observation.points import CloudMaker, Pinhole
from vla_ros.policy.configuration import PolicyConfig

#: Inputs of the graph that acts, beside the others.
CLOUD_INPUTS = ("cloud", "cloud_mask")


def cloud_maker(config: PolicyConfig) -> CloudMaker | None:
    """Return what makes a policy's points; None if it reads none.

    Raises:
        UserError: if Open3D is not installed.
        BundleError: if the configuration does not say which points are read.
    """
    if config.depth_encoder != "points":
        return None
    if config.cloud is None:
        raise BundleError("depth_encoder is 'points', and cloud does not say which are read")
    camera, cloud = config.cameras["front"], config.cloud
    return CloudMaker(
        Pinhole(
            width=camera.width,
            height=camera.height,
            fx=camera.fx,
            fy=camera.fy,
            cx=camera.cx,
            cy=camera.cy,
        ),
        np.array(camera.mount),
        lower=cloud.lower,
        upper=cloud.upper,
        voxel_m=cloud.voxel_m,
        count=cloud.count,
    )


def cloud_inputs(
    make: CloudMaker | None, inputs: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    """Return the inputs of the graph that hold the points of its image and depth.

    Args:
        make: From `cloud_maker`; None gives no inputs.
        inputs: The graph's other inputs, a batch of one.
    """
    if make is None:
        return {}
    rgb, depth = (np.asarray(inputs[f"{what}_front"][0]) for what in ("rgb", "depth"))
    cloud = make(rgb.astype(np.uint8), depth.astype(np.float32))
    points, mask = CLOUD_INPUTS
    return {points: cloud.points[None], mask: cloud.mask[None].astype(np.float32)}
