"""The MuJoCo model of a scene: the robot from its URDF, a table, objects, containers, cameras."""

from __future__ import annotations

import functools
import math

import mujoco
import numpy as np
import xacro
from numpy.typing import NDArray

from vla_ros.core.resources import resource_path
from vla_ros.sim.layout import CONTAINER_RADIUS, ContainerSpec, ObjectSpec
from vla_ros.sim.scenes import Scene

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
CAMERAS = ("front", "wrist")
#: Vertical field of view of each camera [deg].
FIELD_OF_VIEW = {"front": 46.0, "wrist": 78.0}

RGB = {
    "red": (0.80, 0.10, 0.10),
    "green": (0.12, 0.58, 0.18),
    "blue": (0.12, 0.25, 0.80),
    "yellow": (0.92, 0.80, 0.12),
    "purple": (0.50, 0.16, 0.62),
    "orange": (0.95, 0.48, 0.08),
}
PHYSICS_STEP_S = 0.002
#: Servo stiffness [N m/rad] and damping [N m s/rad]: a position-controlled STS3215 behind its
#: 1:345 gear; friction loss, armature and peak torque as published with the SO-101's MJCF.
STIFFNESS, DAMPING = 60.0, 1.6
ARMATURE, FRICTION_LOSS, PEAK_TORQUE = 0.028, 0.052, 2.94
#: The gripper runs torque-limited, as LeRobot sets its servo up, or it crushes what it holds.
GRIPPER_STIFFNESS, GRIPPER_TORQUE = 12.0, 0.45
DENSITY = 350.0  # [kg/m^3] of the objects, like light wood


@functools.cache
def robot_urdf(path: str = "urdf/so101.urdf.xacro") -> str:
    """Return the URDF text that the xacro file at `path` expands to."""
    return str(xacro.process_file(str(resource_path(path))).toxml())


def build_model(scene: Scene | None) -> mujoco.MjModel:
    """Compile the scene; None gives the robot alone, as the experts' inverse kinematics needs."""
    spec = _robot_spec()
    if scene is None:
        return spec.compile()
    _add_cameras(spec, scene)
    _add_table(spec, scene)
    for index, item in enumerate(scene.objects):
        _add_object(spec, item, scene.appearance.colour_jitter[index])
    for container in scene.containers:
        _add_container(spec, container)
    return spec.compile()


def _robot_spec() -> mujoco.MjSpec:
    compiler = '<mujoco><compiler fusestatic="false" discardvisual="false"/></mujoco>'
    head = '<robot name="so101">'
    marked = robot_urdf().replace(head, head + compiler, 1)
    spec = mujoco.MjSpec.from_string(marked)
    spec.option.timestep = PHYSICS_STEP_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.visual.map.znear = 0.02
    spec.visual.map.zfar = 8.0
    spec.stat.extent = 1.0
    for joint in spec.joints:
        joint.frictionloss = FRICTION_LOSS
        joint.damping = (0.1 if joint.name == "gripper" else DAMPING, 0, 0)
        joint.armature = 0.01 if joint.name == "gripper" else ARMATURE
        actuator = spec.add_actuator(name=joint.name, target=joint.name)
        actuator.trntype = mujoco.mjtTrn.mjTRN_JOINT
        gripper = joint.name == "gripper"
        actuator.set_to_position(kp=GRIPPER_STIFFNESS if gripper else STIFFNESS)
        actuator.ctrlrange = joint.range
        torque = GRIPPER_TORQUE if gripper else PEAK_TORQUE
        actuator.forcerange = (-torque, torque)
        actuator.ctrllimited = actuator.forcelimited = True
    fingers = {"gripper_link", "jaw_link"}
    for body in spec.bodies:
        for geom in body.geoms:
            solid = geom.contype != 0
            geom.group = 3 if solid else 1
            # the arm's own links are shaped to touch at the joints: they do not collide
            geom.contype, geom.conaffinity = 0, int(solid)
            if body.name in fingers:
                geom.friction = (1.4, 0.02, 0.0005)
                geom.condim = 4
                geom.solref = (0.01, 1.0)
    imu = spec.body("imu_link").add_site(name="imu")
    spec.body("tcp").add_site(name="tcp")
    for name, kind in (
        ("gyro", mujoco.mjtSensor.mjSENS_GYRO),
        ("accelerometer", mujoco.mjtSensor.mjSENS_ACCELEROMETER),
    ):
        spec.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=imu.name)
    return spec


def _add_cameras(spec: mujoco.MjSpec, scene: Scene) -> None:
    """Hang a camera in each optical frame, moved by the episode's calibration error."""
    offsets = {"front": scene.appearance.front_offset, "wrist": scene.appearance.wrist_offset}
    for name in CAMERAS:
        offset = offsets[name]
        error, flip, quat = np.zeros(4), np.zeros(4), np.zeros(4)
        mujoco.mju_euler2Quat(error, offset[3:], "xyz")
        # MuJoCo looks along -z with y up, an optical frame along z with y down
        mujoco.mju_axisAngle2Quat(flip, np.array([1.0, 0.0, 0.0]), math.pi)
        mujoco.mju_mulQuat(quat, error, flip)
        spec.body(f"{name}_camera_optical").add_camera(
            name=name, pos=offset[:3], quat=quat, fovy=FIELD_OF_VIEW[name]
        )


def _add_table(spec: mujoco.MjSpec, scene: Scene) -> None:
    look = scene.appearance
    noise = np.random.default_rng(look.texture_seed).normal(0, look.texture_noise, (64, 64, 1))
    pixels = np.clip(np.array(look.table_rgb) + noise, 0, 1)
    texture = spec.add_texture(
        name="table", type=mujoco.mjtTexture.mjTEXTURE_2D, width=64, height=64, nchannel=3
    )
    texture.data = (pixels * 255).astype(np.uint8).tobytes()
    material = spec.add_material(name="table", specular=0.1)
    textures = [""] * int(mujoco.mjtTextureRole.mjNTEXROLE)
    textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = "table"
    material.textures = textures
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(0.5, 0.6, 0.02),
        pos=(0.3, 0, -0.02),
        material="table",
        friction=(0.8, 0.02, 0.002),
        contype=3,
        conaffinity=3,
    )
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=(4, 4, 0.1),
        pos=(0, 0, -0.7),
        rgba=(*(0.5 * np.array(look.table_rgb) + 0.2), 1),
        contype=1,
        conaffinity=1,
    )
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        dir=look.light_direction,
        pos=(0.2, 0, 1.5),
        diffuse=(look.diffuse,) * 3,
        ambient=(look.ambient,) * 3,
        specular=(0.15,) * 3,
        castshadow=False,
    )
    spec.visual.headlight.active = 0


def _add_object(spec: mujoco.MjSpec, item: ObjectSpec, jitter: NDArray[np.float64]) -> None:
    half = item.half_size
    body = spec.worldbody.add_body(
        name=item.name,
        pos=(*item.xy, half),
        quat=(math.cos(item.yaw / 2), 0, 0, math.sin(item.yaw / 2)),
    )
    body.add_freejoint(name=item.name)
    kind = {
        "cube": mujoco.mjtGeom.mjGEOM_BOX,
        "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
        "ball": mujoco.mjtGeom.mjGEOM_SPHERE,
    }[item.shape]
    body.add_geom(
        name=item.name,
        type=kind,
        size=(half, half, half),
        density=DENSITY,
        rgba=(*np.clip(np.array(RGB[item.colour]) + jitter, 0, 1), 1),
        friction=(1.0, 0.02, 0.004),
        condim=6,
        contype=3,
        conaffinity=3,
        solref=(0.01, 1.0),
    )


def _add_container(spec: mujoco.MjSpec, container: ContainerSpec) -> None:
    """Add a bowl (walls 22 mm high) or a plate (rim 6 mm high), fixed to the table."""
    body = spec.worldbody.add_body(name=container.name, pos=(*container.xy, 0))
    colour = (container.grey, container.grey, container.grey * 0.94, 1)
    shared = {
        "rgba": colour,
        "contype": 3,
        "conaffinity": 3,
        "friction": (0.9, 0.02, 0.004),
        "condim": 4,
    }
    radius = CONTAINER_RADIUS
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(radius, 0.002, 0), pos=(0, 0, 0.002), **shared
    )
    height = 0.011 if container.name == "bowl" else 0.0028
    sides = 14
    for side in range(sides):
        angle = 2 * math.pi * side / sides
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=(0.003, radius * math.tan(math.pi / sides), height),
            pos=(radius * math.cos(angle), radius * math.sin(angle), height),
            quat=(math.cos(angle / 2), 0, 0, math.sin(angle / 2)),
            **shared,
        )
