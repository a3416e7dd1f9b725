"""Builds `vla_ros_interfaces`, and what the ROS 2 at hand lacks, into a virtual environment.

The ROS 2 wheels export CMake files that name the machine they were made on; they are mended
first. Where ROS 2 is sourced there is nothing to mend, and the same build finds it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WHEEL_INCLUDE = re.compile(r"/opt/python/cp\d+-cp\d+t?/include/python3\.\d+t?")
WHEEL_SITE_PACKAGES = re.compile(r"/opt/python/cp\d+-cp\d+t?/lib/python3\.\d+t?/site-packages")


def mend_exported_cmake(prefix: Path) -> int:
    """Replace the build machine's Python paths in the CMake files under `prefix`/share.

    Args:
        prefix: The virtual environment; the interpreter that runs this must be its own.

    Returns:
        The number of files that changed; 0 when they were mended before.
    """
    include = sysconfig.get_path("include")
    site_packages = sysconfig.get_path("purelib")
    mended = 0
    for path in sorted((prefix / "share").rglob("*.cmake")):
        text = path.read_text(encoding="utf-8")
        good = WHEEL_INCLUDE.sub(lambda _: include, text)
        good = WHEEL_SITE_PACKAGES.sub(lambda _: site_packages, good)
        if good != text:
            path.write_text(good, encoding="utf-8")
            mended += 1
    return mended


def build_interfaces(source: Path, prefix: Path) -> None:
    """Configure, build and install the interface package at `source` into `prefix`.

    Raises:
        subprocess.CalledProcessError: if cmake fails; its output has been printed.
    """
    environment = os.environ.copy()
    for variable in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
        sourced = environment.get(variable)
        environment[variable] = f"{prefix}{os.pathsep}{sourced}" if sourced else str(prefix)
    own = prefix / "bin" / "cmake"
    cmake = str(own) if own.exists() else shutil.which("cmake") or "cmake"
    with tempfile.TemporaryDirectory(prefix="vla_ros_interfaces.") as build:
        configure = [
            *(cmake, "-S", str(source), "-B", build, "-Wno-dev", "-DBUILD_TESTING=OFF"),
            f"-DCMAKE_INSTALL_PREFIX={prefix}",
            f"-DPython3_EXECUTABLE={prefix / 'bin' / 'python'}",
            # No optimization: it takes a third longer, and a chunk is 600 bytes.
            "-DCMAKE_BUILD_TYPE=None",
        ]
        jobs = str(os.cpu_count() or 1)
        for command in (
            configure,
            [cmake, "--build", build, "--parallel", jobs],
            [cmake, "--install", build],
        ):
            _run_quietly(command, environment)


def _run_quietly(command: list[str], environment: dict[str, str]) -> None:
    """Run `command`; show what it printed only if it fails."""
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stdout)
        raise subprocess.CalledProcessError(done.returncode, command)


def main() -> int:
    """Build the interfaces next to this folder into the environment this Python belongs to.

    Returns:
        The exit status.
    """
    prefix = Path(sys.prefix)
    mend_exported_cmake(prefix)
    try:
        # Together, for configuring keeps one core busy only.
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda source: build_interfaces(source, prefix), find_sources()))
    except subprocess.CalledProcessError as error:
        print(f"the interfaces were not built: {error}", file=sys.stderr)
        return 1
    return 0


def find_sources() -> list[Path]:
    """Return the interface packages to build: ours, and what this ROS 2 lacks."""
    here = Path(__file__).resolve().parent
    lacking = [
        source
        for source in sorted((here / "interfaces").iterdir())
        if importlib.util.find_spec(source.name) is None
    ]
    return [here.parent / "interfaces", *lacking]


if __name__ == "__main__":
    sys.exit(main())
