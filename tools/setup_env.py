"""Makes `.venv`: packages, the interfaces, and this package. `make` calls it.

    python3 tools/setup_env.py                            what nodes, simulator and demo need
    python3 tools/setup_env.py train pretrained test      and what training and the tests need
    python3 tools/setup_env.py points                     and what makes points of depth
    python3 tools/setup_env.py data                       and what records, converts and checks
    python3 tools/setup_env.py openvino serve             and engines: docs/reference/engines.md
    python3 tools/setup_env.py gpu                        onnxruntime-gpu for onnxruntime

A second call does nothing. Where ROS 2 is sourced, that is used, and no ROS 2 wheel is
installed. Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - before the imports, which an older Python cannot read
    sys.exit(
        f"[setup] error: {sys.executable} is Python {sys.version.split()[0]}; vla_ros needs 3.11 "
        "to 3.14.\nName another one: make PYTHON=/path/to/python3.12"
    )
sys.path.insert(0, str(Path(__file__).resolve().parent))

import machine
from environment import Environment, run
from machine import SetupError

ROOT = Path(__file__).resolve().parents[1]
#: Files of requirements/ that can be added to what runs. `torch` comes with `train`.
EXTRAS = (
    "train", "pretrained", "points", "test", "openvino", "tensorrt-rtx", "quantize", "serve",
    "data", "scale", "gpu",
)  # fmt: skip
#: Those that have wheels for x86-64 alone.
X86_ONLY = ("tensorrt-rtx",)
# `TORCH_INDEX=URL make test` takes torch from elsewhere, for example without CUDA.
INDEX = ["--extra-index-url", url] if (url := os.environ.get("TORCH_INDEX")) else []
RENDER_ONE_IMAGE = (
    "import mujoco\n"
    "model = mujoco.MjModel.from_xml_string('<mujoco/>')\n"
    "with mujoco.Renderer(model, 16, 16) as renderer:\n"
    "    renderer.update_scene(mujoco.MjData(model)); renderer.render()\n"
)


def make_environment(prefix: Path, python: str, extras: list[str]) -> None:
    """Make, or complete, an environment.

    Args:
        prefix: Its folder.
        python: The interpreter to make it from.
        extras: Files of `requirements/` to install beside `run.txt`.

    Raises:
        SetupError: with the way out.
    """
    ros = machine.find_sourced_ros()
    environment = Environment(prefix, ros)
    if not environment.is_complete("machine", python):
        interpreter = machine.inspect_interpreter(python)
        machine.check_python(interpreter, ros)
        machine.check_packages(interpreter, ros)
    environment.create(python)
    environment.step("machine", python, lambda: None)

    packages = environment.adapt(read_requirements("run"))
    if "gpu" in extras or environment.was_done("gpu packages"):
        # both are the module `onnxruntime`; what was installed last would hide the other
        packages = [pin for pin in packages if not pin.startswith("onnxruntime==")]
    if "gpu" in extras:
        pins = read_requirements("gpu")
        environment.step("without onnxruntime", pins, lambda: remove_onnxruntime(environment))
    base = [pin for pin in packages if pin.startswith(("numpy==", "setuptools=="))]
    if not ros:
        base += read_requirements("ros")
    name = "what interfaces are built with" if ros else "ROS 2 wheels"
    environment.step(name, base, lambda: environment.install(base, "--no-deps"))
    with build_interfaces(environment, base):
        environment.step("packages", packages, lambda: environment.install(packages, "--no-deps"))
        for extra in installable(extras):
            pins = environment.adapt(read_requirements(extra))
            install = functools.partial(environment.install, pins, "--no-deps")
            environment.step(f"{extra} packages", pins, install)
        if "train" in extras:
            torch = read_requirements("torch")
            environment.step("torch", torch, lambda: environment.install(torch, *INDEX))
    install_vla_ros(environment)
    if ros:
        source = (ROOT / "tools" / "library_path.py").read_text()
        environment.step(
            "library path", source, lambda: environment.start_with("vla_ros_library_path", source)
        )
    environment.step("rendering", packages, lambda: check_rendering(environment))


def build_interfaces(environment: Environment, base: list[str]) -> AbstractContextManager[None]:
    """Return a context that builds `vla_ros_interfaces` while its body runs."""
    folders = (ROOT / "interfaces", ROOT / "tools" / "interfaces")
    sources = sorted(path for folder in folders for path in folder.rglob("*.*"))
    made_from = [base, [path.read_text() for path in sources]]
    command = [str(environment.python), str(ROOT / "tools" / "build_interfaces.py")]
    return environment.in_background("interfaces", made_from, command)


def install_vla_ros(environment: Environment) -> None:
    """Install this checkout, editable: the environment runs what the checkout holds."""
    pip = [str(environment.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    command = [*pip, "--no-build-isolation", "--no-deps", "-e", str(ROOT)]
    made_from = [command, (ROOT / "setup.py").read_text()]
    environment.step("vla_ros", made_from, lambda: run(command))


def installable(extras: list[str]) -> list[str]:
    """Return the extras that have wheels for this machine, and say which have none."""
    missing = set() if platform.machine() == "x86_64" else set(X86_ONLY)
    for extra in missing.intersection(extras):
        print(f"[setup] {extra}: left out, it has no wheels for {platform.machine()}", flush=True)
    return [extra for extra in extras if extra not in missing]


def remove_onnxruntime(environment: Environment) -> None:
    """Remove both builds, so that the one which follows is whole."""
    pip = [str(environment.python), "-m", "pip", "uninstall", "-q", "-y"]
    run([*pip, "--disable-pip-version-check", "onnxruntime", "onnxruntime-gpu"])


def check_rendering(environment: Environment) -> None:
    """Render one image without a screen.

    Raises:
        SetupError: if that fails; the renderer has said why.
    """
    settings = {"MUJOCO_GL": "egl", **os.environ}
    command = [str(environment.python), "-c", RENDER_ONE_IMAGE]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        packages = " ".join(machine.EGL_PACKAGES)
        raise SetupError(
            f"{done.stderr}MuJoCo cannot render off screen. Install EGL and a driver for it, on "
            f"Debian and Ubuntu\n  sudo apt-get install {packages}\n"
            "or render with OSMesa: sudo apt-get install libosmesa6; export MUJOCO_GL=osmesa"
        )


def read_requirements(name: str) -> list[str]:
    """Return the pins of requirements/`name`.txt."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@contextmanager
def sole_setup() -> Iterator[None]:
    """Keep a second `make` in this checkout waiting until this one is done."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def main() -> int:
    """Make the environment and return the exit status."""
    parser = argparse.ArgumentParser(description="Make the environment that vla_ros runs in.")
    parser.add_argument("extras", nargs="*", metavar="|".join(EXTRAS), help="what to add")
    parser.add_argument("--prefix", type=Path, default=ROOT / ".venv", help="where it is made")
    parser.add_argument("--python", default="python3", help="the interpreter to make it from")
    arguments = parser.parse_args()
    if unknown := set(arguments.extras) - set(EXTRAS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(EXTRAS)}")
    started = time.monotonic()
    try:
        with sole_setup():
            make_environment(arguments.prefix.resolve(), arguments.python, arguments.extras)
    except SetupError as error:
        print(f"[setup] error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if (seconds := time.monotonic() - started) > 5.0:
        print(f"[setup] {arguments.prefix} is ready: {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
