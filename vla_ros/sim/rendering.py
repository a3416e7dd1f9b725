"""Colour and depth from one off-screen pass, and the noise that real cameras add to both."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]


class Renderer:
    """Renders RGB and depth of one model. It belongs to the thread that made it (OpenGL)."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        """Make an off-screen context of `width` x `height` pixels."""
        self._model = model
        model.vis.global_.offwidth = max(width, model.vis.global_.offwidth)
        model.vis.global_.offheight = max(height, model.vis.global_.offheight)
        self._gl = mujoco.GLContext(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=300)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = (1, 1, 1, 0, 0, 0)
        self._option.sitegroup[:] = 0
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._rgb = np.empty((height, width, 3), np.uint8)
        self._depth = np.empty((height, width), np.float32)
        extent = model.stat.extent
        self._near = float(model.vis.map.znear * extent)
        self._far = float(model.vis.map.zfar * extent)

    def render(self, data: mujoco.MjData, camera: str) -> tuple[UInt8Array, Float32Array]:
        """Return a fresh RGB image (H, W, 3) and depth (H, W) [m] along the optical axis."""
        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = self._model.camera(camera).id
        return self.render_view(data, view)

    def render_view(
        self, data: mujoco.MjData, view: mujoco.MjvCamera
    ) -> tuple[UInt8Array, Float32Array]:
        """Like `render`, from any point of view."""
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, view, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._rgb, self._depth, self._viewport, self._context)
        depth = self._near * self._far / (self._far - self._depth * (self._far - self._near))
        return self._rgb[::-1].copy(), np.ascontiguousarray(depth[::-1], np.float32)

    def close(self) -> None:
        """Free the context."""
        self._context.free()
        self._gl.free()


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraNoise:
    """Sensor noise of an RGB-D camera.

    Depth follows a structured-light sensor at arm's length: axial noise that grows with the square
    of the distance (Nguyen, Izadi, Lovell 2012), 1 mm quantization, holes at depth edges and at
    random. Colour gets gain and per-pixel noise.
    """

    pixel_std: float = 4.0
    gain_std: float = 0.02
    depth_std_at_1m_m: float = 0.0025
    quantum_m: float = 0.001
    hole_fraction: float = 0.004
    edge_step_m: float = 0.02
    edge_hole_probability: float = 0.35
    range_m: tuple[float, float] = (0.03, 2.0)

    def apply(
        self, rng: Generator, rgb: UInt8Array, depth: Float32Array
    ) -> tuple[UInt8Array, Float32Array]:
        """Return noisy copies; a hole in the depth is 0."""
        gain = 1.0 + self.gain_std * rng.standard_normal(3, np.float32)
        noisy = rgb * gain + self.pixel_std * rng.standard_normal(rgb.shape, np.float32)
        image = np.clip(noisy, 0, 255).astype(np.uint8)
        spread = self.depth_std_at_1m_m * depth * depth
        measured = depth + spread * rng.standard_normal(depth.shape, np.float32)
        measured = np.round(measured / self.quantum_m) * self.quantum_m
        edges = np.zeros(depth.shape, bool)
        edges[:, 1:] |= np.abs(np.diff(depth, axis=1)) > self.edge_step_m
        edges[1:, :] |= np.abs(np.diff(depth, axis=0)) > self.edge_step_m
        chance = rng.random(depth.shape, np.float32)
        hole = (edges & (chance < self.edge_hole_probability)) | (chance < self.hole_fraction)
        low, high = self.range_m
        good = ~hole & (measured >= low) & (measured <= high)
        return image, np.where(good, measured, 0).astype(np.float32)


@dataclass(kw_only=True)
class ImuNoise:
    """MEMS-class IMU noise: white noise, constant bias, slow bias walk.

    From the ICM-20948 datasheet, at 100 Hz: gyro 0.015 deg/s/sqrt(Hz) and 0.5 deg/s bias;
    accelerometer 230 ug/sqrt(Hz) and 25 mg bias.
    """

    rng: Generator
    gyro_std: float = 0.0026  # [rad/s] at 100 Hz
    accel_std: float = 0.0226  # [m/s^2] at 100 Hz
    gyro_bias_std: float = 0.0087  # [rad/s]
    accel_bias_std: float = 0.25  # [m/s^2]

    def __post_init__(self) -> None:
        self._scale = np.repeat([self.gyro_std, self.accel_std], 3)
        self._walk = np.repeat([self.gyro_bias_std, self.accel_bias_std], 3) * 1e-3
        self._bias = self.rng.standard_normal(6) * np.repeat(
            [self.gyro_bias_std, self.accel_bias_std], 3
        )

    def apply(self, reading: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the noisy reading (6,): gyro [rad/s], accelerometer [m/s^2]."""
        self._bias = self._bias + self._walk * self.rng.standard_normal(6)
        noisy: NDArray[np.float64]
        noisy = reading + self._bias + self._scale * self.rng.standard_normal(6)
        return noisy
