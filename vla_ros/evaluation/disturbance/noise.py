"""Sensors that are noisier than the simulator's own, which are as noisy as good real ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from vla_ros.core.types import FloatArray, Observation
from vla_ros.evaluation.disturbance.base import Disturbance, Filter, change_images

IMU_RATE_HZ = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNoise(Disturbance):
    """A dark room: noise in every pixel and channel, new in every frame.

    Attributes:
        std: Grey levels of 255; the simulator has 4.
    """

    std: float = 25.0

    @property
    def effect(self) -> str:
        """Say how much."""
        return f"colour images have noise of {self.std:g} grey levels in every pixel"

    def begin(self, rng: Generator) -> Filter:
        """Add the noise."""
        return lambda seen: change_images(
            seen,
            lambda _, image: np.clip(
                image + self.std * rng.standard_normal(image.shape, np.float32), 0, 255
            ).astype(np.uint8),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthNoise(Disturbance):
    """A cheap depth camera: noise in every pixel; holes stay holes.

    Attributes:
        std_m: [m]; the simulator has 0.0006 where things stand.
    """

    std_m: float = 0.01

    @property
    def effect(self) -> str:
        """Say how much."""
        return f"depth has noise of {1e3 * self.std_m:g} mm in every pixel"

    def begin(self, rng: Generator) -> Filter:
        """Add the noise."""

        def disturb(seen: Observation) -> Observation:
            depths = {}
            for camera, depth in seen.depths.items():
                noisy = depth + self.std_m * rng.standard_normal(depth.shape, np.float32)
                depths[camera] = np.where(depth > 0, np.maximum(noisy, 0), depth).astype(
                    np.float32
                )
            return replace(seen, depths=depths)

        return disturb


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthHoles(Disturbance):
    """Dark, shiny and sunlit surfaces: blocks of the depth image are holes, others every frame.

    Attributes:
        share: Of the blocks that are holes, 0 to 1.
        block_px: Width and height of a block [px].
    """

    share: float = 0.25
    block_px: int = 8

    @property
    def effect(self) -> str:
        """Say how many."""
        block = f"{self.block_px} x {self.block_px} px"
        return f"{100 * self.share:.0f} % of the depth, in blocks of {block}, is holes"

    def begin(self, rng: Generator) -> Filter:
        """Punch the holes."""

        def disturb(seen: Observation) -> Observation:
            depths = {}
            for camera, depth in seen.depths.items():
                blocks = [-(-side // self.block_px) for side in depth.shape]
                lost = rng.random(blocks) < self.share
                lost = lost.repeat(self.block_px, 0).repeat(self.block_px, 1)
                lost = lost[: depth.shape[0], : depth.shape[1]]
                depths[camera] = np.where(lost, np.float32(0), depth)
            return replace(seen, depths=depths)

        return disturb


@dataclass(frozen=True, slots=True, kw_only=True)
class ImuNoise(Disturbance):
    """A bad IMU: white noise, and a bias of each axis that stays for the episode.

    Attributes:
        gyro_std: White noise [rad/s].
        gyro_bias_std: Spread of the bias [rad/s].
        accel_std: White noise [m/s^2].
        accel_bias_std: Spread of the bias [m/s^2].
    """

    gyro_std: float = 0.1
    gyro_bias_std: float = 0.1
    accel_std: float = 1.0
    accel_bias_std: float = 1.0

    @property
    def effect(self) -> str:
        """Say how much."""
        return (
            f"gyro noise {self.gyro_std:g} rad/s and bias {self.gyro_bias_std:g} rad/s; "
            f"accelerometer noise {self.accel_std:g} m/s² and bias {self.accel_bias_std:g} m/s²"
        )

    def begin(self, rng: Generator) -> Filter:
        """Draw the bias; a reading has the same noise in every window that it is in."""
        bias = rng.standard_normal(6) * np.repeat([self.gyro_bias_std, self.accel_bias_std], 3)
        spread = np.repeat([self.gyro_std, self.accel_std], 3)
        noise: FloatArray = np.empty((0, 6))
        last_ns = 0

        def disturb(seen: Observation) -> Observation:
            nonlocal noise, last_ns
            if seen.imu is None:
                return seen
            length = len(seen.imu)
            fresh = round((seen.stamp_ns - last_ns) * 1e-9 * IMU_RATE_HZ)
            fresh = length if len(noise) < length else min(max(fresh, 0), length)
            drawn = spread * rng.standard_normal((fresh, 6))
            noise = np.concatenate([noise, drawn])[-length:]
            last_ns = seen.stamp_ns
            return replace(seen, imu=(seen.imu + bias + noise).astype(np.float32))

        return disturb


@dataclass(frozen=True, slots=True, kw_only=True)
class JointNoise(Disturbance):
    """Bad encoders: noise in every measured joint position; the last command stays known.

    Attributes:
        std_rad: [rad]; the simulator has none.
    """

    std_rad: float = 0.01

    @property
    def effect(self) -> str:
        """Say how much."""
        return f"measured joint positions have noise of {self.std_rad:g} rad"

    def begin(self, rng: Generator) -> Filter:
        """Add the noise."""

        def disturb(seen: Observation) -> Observation:
            noisy = seen.state + self.std_rad * rng.standard_normal(seen.state.shape)
            return replace(seen, state=noisy.astype(np.float32))

        return disturb
