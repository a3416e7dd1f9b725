"""From a depth image to points in the robot's base frame, with Open3D."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import ObservationError, UserError

Float32Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinhole:
    """A camera without distortion: focal lengths and centre [px], size [px]."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Points of one depth image, padded at the end.

    Attributes:
        points: float32, shape (count, 6): xyz in the base frame [m], colour 0 to 1; 0 as padding.
        mask: bool, shape (count,); True for a point.
    """

    points: Float32Array
    mask: NDArray[np.bool_]


class CloudMaker:
    """Back-projects depth, keeps what is in a box, and makes one point of each voxel.

    Args:
        camera: Of the image and the depth, which is registered to it.
        pose: T_base_optical, shape (4, 4).
        lower: Corner of the box, in the base frame [m].
        upper: The corner opposite to it [m].
        voxel_m: Edge of a voxel [m].
        count: Points at most; of more, those are kept that are farthest apart.

    Raises:
        UserError: if Open3D is not installed.
    """

    def __init__(
        self,
        camera: Pinhole,
        pose: NDArray[np.float64],
        *,
        lower: tuple[float, float, float],
        upper: tuple[float, float, float],
        voxel_m: float,
        count: int,
    ) -> None:
        """Prepare Open3D's objects for the camera and the box."""
        self._open3d = import_open3d()
        geometry, model = self._open3d.geometry, self._open3d.camera
        self._shape = (camera.height, camera.width)
        self._intrinsic = model.PinholeCameraIntrinsic(
            camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy
        )
        self._extrinsic = np.linalg.inv(np.asarray(pose, np.float64))
        self._box = geometry.AxisAlignedBoundingBox(np.array(lower), np.array(upper))
        self._voxel_m, self._count = voxel_m, count

    def __call__(self, rgb: NDArray[np.uint8], depth: Float32Array) -> Cloud:
        """Return the points of one image.

        Args:
            rgb: (H, W, 3), 0 to 255.
            depth: (H, W) [m]; 0, NaN and infinity are holes.

        Raises:
            ObservationError: if a shape is not the camera's.
        """
        if rgb.shape != (*self._shape, 3) or depth.shape != self._shape:
            raise ObservationError(
                "observation.depth",
                f"expected image {(*self._shape, 3)} and depth {self._shape}, "
                f"got {rgb.shape} and {depth.shape}",
            )
        geometry = self._open3d.geometry
        metres = np.nan_to_num(depth.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        image = geometry.RGBDImage.create_from_color_and_depth(
            geometry.Image(np.ascontiguousarray(rgb)),
            geometry.Image(np.ascontiguousarray(metres)),
            depth_scale=1.0,
            depth_trunc=float(np.finfo(np.float32).max),
            convert_rgb_to_intensity=False,
        )
        cloud = geometry.PointCloud.create_from_rgbd_image(
            image, self._intrinsic, self._extrinsic
        ).crop(self._box)
        if not cloud.is_empty():
            cloud = cloud.voxel_down_sample(self._voxel_m)
        if len(cloud.points) > self._count:
            cloud = cloud.farthest_point_down_sample(self._count)
        found = len(cloud.points)
        points = np.zeros((self._count, 6), np.float32)
        points[:found, :3] = np.asarray(cloud.points)
        points[:found, 3:] = np.asarray(cloud.colors)
        return Cloud(points=points, mask=np.arange(self._count) < found)


def import_open3d() -> ModuleType:
    """Return Open3D, which nothing else needs.

    Raises:
        UserError: if it, or a library that it needs, is not installed.
    """
    try:
        return importlib.import_module("open3d")
    except ImportError as error:
        raise UserError(
            f"points are made with Open3D, which cannot be imported: {error}. Run `pip install "
            "--no-deps -r requirements/points.txt`, and on Debian and Ubuntu "
            "`sudo apt-get install libusb-1.0-0 libgomp1`"
        ) from error
