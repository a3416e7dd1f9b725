"""The simulated table: physics, sensors and scoring, with no ROS in it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from vla_ros.core.conventions import IMU_WINDOW
from vla_ros.core.types import FloatArray
from vla_ros.sim.model import CAMERAS, FIELD_OF_VIEW, JOINTS, PHYSICS_STEP_S, build_model
from vla_ros.sim.rendering import CameraNoise, Float32Array, ImuNoise, Renderer, UInt8Array
from vla_ros.sim.scene_record import scene_values
from vla_ros.sim.scenes import Scene
from vla_ros.sim.tasks import Score, TaskJudge

IMAGE_SIZE = 128  # [px], width and height
OVERVIEW_SIZE = (480, 360)  # [px], width and height
OVERVIEW_LOOKAT = (0.15, 0.0, 0.06)  # [m]
CONTROL_STEP_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraInfo:
    """Pinhole intrinsics in [px] and the optical frame's name."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    frame_id: str


def camera_info(camera: str, size: int = IMAGE_SIZE) -> CameraInfo:
    """Return the intrinsics of a simulated camera of `size` x `size` pixels."""
    focal = 0.5 * size / math.tan(0.5 * math.radians(FIELD_OF_VIEW[camera]))
    centre = 0.5 * size - 0.5
    return CameraInfo(
        width=size,
        height=size,
        fx=focal,
        fy=focal,
        cx=centre,
        cy=centre,
        frame_id=f"{camera}_camera_optical",
    )


class Tabletop:
    """An arm at a table in MuJoCo, stepped at 100 Hz by joint position targets.

    The object belongs to the thread that first renders (OpenGL contexts are thread-bound).
    """

    def __init__(self, *, noisy: bool = True, image_size: int = IMAGE_SIZE) -> None:
        """Make an empty simulator; `reset` fills it.

        Args:
            noisy: Whether sensors are as imperfect as real ones.
            image_size: Width and height of both cameras [px].
        """
        self._noisy = noisy
        self._image_size = image_size
        self._camera_noise = CameraNoise()
        self._renderer: Renderer | None = None
        self._overview: Renderer | None = None
        self._scene: Scene | None = None

    def reset(self, scene: Scene) -> None:
        """Build the scene's world, put the arm at its start, let everything settle."""
        self.close()
        self._scene = scene
        self.model = build_model(scene)
        self.data = mujoco.MjData(self.model)
        self._rng = np.random.default_rng((scene.seed, 7))
        self._imu_noise = ImuNoise(rng=self._rng)
        self._dofs = np.array([int(self.model.joint(name).dofadr[0]) for name in JOINTS])
        self._addresses = np.array([int(self.model.joint(name).qposadr[0]) for name in JOINTS])
        self.data.qpos[self._addresses] = scene.initial_positions
        self.data.ctrl[:] = scene.initial_positions
        for _ in range(150):
            mujoco.mj_step(self.model, self.data)
        self.data.time = 0.0
        self.judge = TaskJudge(scene, self.model, self.data)
        self._score = self.judge.update()
        self._imu: deque[FloatArray] = deque(maxlen=IMU_WINDOW)
        for _ in range(IMU_WINDOW):
            self.read_imu()

    def close(self) -> None:
        """Free the renderers."""
        for renderer in (self._renderer, self._overview):
            if renderer is not None:
                renderer.close()
        self._renderer = self._overview = None

    @property
    def scene(self) -> Scene:
        """The scene of the last reset."""
        if self._scene is None:
            raise RuntimeError("Tabletop.reset(scene) has not been called yet")
        return self._scene

    def scene_values(self) -> dict[str, Any]:
        """Return what the scene can be drawn again from, as JSON."""
        return scene_values(self.scene)

    @property
    def time_s(self) -> float:
        """Simulated time since the reset [s]."""
        return float(self.data.time)

    @property
    def joint_positions(self) -> FloatArray:
        """Measured joint positions (6,) [rad]."""
        return np.array(self.data.qpos[self._addresses])

    @property
    def joint_velocities(self) -> FloatArray:
        """Measured joint velocities (6,) [rad/s]."""
        return np.array(self.data.qvel[self._dofs])

    @property
    def command(self) -> FloatArray:
        """The position targets in force (6,) [rad]."""
        return np.array(self.data.ctrl)

    def step(self, command: FloatArray) -> Score:
        """Advance by 10 ms with joint position targets (6,) [rad]; return the score so far."""
        self.data.ctrl[:] = command
        mujoco.mj_step(self.model, self.data, round(CONTROL_STEP_S / PHYSICS_STEP_S))
        self.read_imu()
        self._score = self.judge.update()
        return self._score

    def score(self) -> Score:
        """Return the latched score of the episode."""
        return self._score

    def read_imu(self) -> FloatArray:
        """Take a reading (6,): gyro [rad/s], accelerometer [m/s^2]; it also joins the window."""
        reading = np.array(self.data.sensordata[:6])
        if self._noisy:
            reading = self._imu_noise.apply(reading)
        self._imu.append(reading)
        return reading

    @property
    def last_imu(self) -> FloatArray:
        """The reading of the last step (6,)."""
        return self._imu[-1]

    def imu_window(self) -> Float32Array:
        """Return the last 20 readings (20, 6), the oldest first."""
        return np.array(self._imu, np.float32)

    def render(self, camera: str) -> tuple[UInt8Array, Float32Array]:
        """Return RGB (H, W, 3) and depth (H, W) [m, 0 = hole] of `front` or `wrist`."""
        if self._renderer is None:
            self._renderer = Renderer(self.model, self._image_size, self._image_size)
        rgb, depth = self._renderer.render(self.data, camera)
        return self._camera_noise.apply(self._rng, rgb, depth) if self._noisy else (rgb, depth)

    def render_overview(self) -> UInt8Array:
        """Return a picture (H, W, 3) of arm and table for people to look at: no robot has it."""
        if self._overview is None:
            self._overview = Renderer(self.model, *OVERVIEW_SIZE)
        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FREE
        view.lookat[:] = OVERVIEW_LOOKAT
        view.azimuth, view.elevation, view.distance = 150.0, -36.0, 0.56
        return self._overview.render_view(self.data, view)[0]

    def camera_info(self, camera: str) -> CameraInfo:
        """Return the intrinsics that the camera publishes."""
        return camera_info(camera, self._image_size)

    def camera_pose(self, camera: str) -> FloatArray:
        """Return the true T_base_optical (4, 4): what training knows and the policy does not."""
        pose = np.eye(4)
        pose[:3, :3] = self.data.camera(camera).xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
        pose[:3, 3] = self.data.camera(camera).xpos
        return pose

    def link_transforms(self) -> list[tuple[str, str, FloatArray, FloatArray]]:
        """Return (parent, child, xyz (3,) [m], quat_xyzw (4,)) of every link of the robot."""
        things = {item.name for item in self.scene.objects}
        things |= {item.name for item in self.scene.containers}
        transforms = []
        for body in range(2, self.model.nbody):
            name = self.model.body(body).name
            if name in things:
                continue
            parent = int(self.model.body_parentid[body])
            inverse, quat_wxyz = np.zeros(4), np.zeros(4)
            mujoco.mju_negQuat(inverse, self.data.xquat[parent])
            mujoco.mju_mulQuat(quat_wxyz, inverse, self.data.xquat[body])
            offset = np.zeros(3)
            mujoco.mju_rotVecQuat(offset, self.data.xpos[body] - self.data.xpos[parent], inverse)
            quat_xyzw = quat_wxyz[[1, 2, 3, 0]]
            transforms.append((self.model.body(parent).name, name, offset, quat_xyzw))
        return transforms


__all__ = ["CAMERAS", "JOINTS", "CameraInfo", "Tabletop", "camera_info"]
