"""The virtual environment that `make` works in. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from machine import SetupError, SourcedRos, inspect_interpreter

# The last packages that work with numpy 1, which the ROS 2 of Ubuntu 24.04 is built against.
PINS_WITH_NUMPY_1 = {"ml-dtypes": "0.5.4", "opencv-python-headless": "4.11.0.86"}


class Environment:
    """The virtual environment, and the stamps of the steps that were done in it.

    A stamp holds a digest of what its step was made from; the same digest means nothing to do.

    Attributes:
        prefix: The environment's folder.
        python: Its interpreter.
        ros: The ROS 2 that it is laid over, or None when it has the wheels.
    """

    def __init__(self, prefix: Path, ros: SourcedRos | None) -> None:
        self.prefix = prefix
        self.python = prefix / "bin" / "python"
        self.ros = ros
        self._stamps = prefix / ".setup"

    def create(self, python: str) -> None:
        """Make the environment with the interpreter `python`, unless a working one is there.

        Raises:
            SetupError: if the one that is there is laid over another ROS 2 than this shell's.
        """
        kind = f"ROS 2 {self.ros.distro}" if self.ros else "the ROS 2 wheels"
        stamp = self._stamps / "kind"
        if self._works():
            made_for, place = kind, str(self.prefix)
            if stamp.exists():
                made_for, _, place = stamp.read_text().partition("\n")
            if made_for != kind:
                raise SetupError(
                    f"{self.prefix} was made with {made_for}, and this shell asks for {kind}: the "
                    "two never mix.\nRemove it with `make clean`, or use a shell like the first."
                )
            if place != str(self.prefix):  # the checkout was moved, and scripts name the old place
                stamp.unlink()
        if not self._works() or (self._stamps.exists() and not stamp.exists()):
            options = ["--system-site-packages"] if self.ros else []
            run([python, "-m", "venv", "--clear", *options, str(self.prefix)])
        self._stamps.mkdir(exist_ok=True)
        stamp.write_text(f"{kind}\n{self.prefix}")

    def is_complete(self, name: str, made_from: object) -> bool:
        """Return whether the step was done with the same `made_from`."""
        stamp = self._stamps / name.replace(" ", "_")
        return stamp.exists() and stamp.read_text() == _digest(made_from)

    def was_done(self, name: str) -> bool:
        """Return whether the step was ever done, whatever it was made from."""
        return (self._stamps / name.replace(" ", "_")).exists()

    def step(self, name: str, made_from: object, work: Callable[[], None]) -> None:
        """Do `work`, unless it was done with the same `made_from`."""
        with self._stamped(name, made_from) as stale:
            if stale:
                work()

    @contextlib.contextmanager
    def in_background(self, name: str, made_from: object, command: list[str]) -> Iterator[None]:
        """Run `command` while the body runs, unless it was run with the same `made_from`.

        Raises:
            SetupError: after the body, if the command failed; it has said why.
        """
        with self._stamped(name, made_from) as stale:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL) if stale else None
            try:
                yield
            except BaseException:
                if process is not None:
                    process.terminate()
                raise
            if process is not None and process.wait() != 0:
                raise SetupError(f"this failed, see above:\n  {' '.join(command)}")

    def install(self, requirements: list[str], *options: str) -> None:
        """Install pinned requirements with pip; Python compiles what it imports when it does."""
        listing = self._stamps / "requirements.txt"
        listing.write_text("\n".join(requirements) + "\n")
        pip = [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        pip += ["--no-compile", "--use-pep517"]
        run([*pip, *options, "-r", str(listing)])

    def adapt(self, requirements: list[str]) -> list[str]:
        """Return `requirements` with the numpy that a sourced ROS 2 was built against.

        Without a sourced ROS 2 they stay as they are.
        """
        if self.ros is None:
            return requirements
        numpy = inspect_interpreter(str(self.python)).numpy
        pins = {"numpy": numpy} | (PINS_WITH_NUMPY_1 if numpy.startswith("1.") else {})
        names = [line.partition("==")[0] for line in requirements]
        return [
            f"{name}=={pins[name]}" if name in pins else line
            for name, line in zip(names, requirements, strict=True)
        ]

    def start_with(self, module: str, source: str) -> None:
        """Have each start of the environment's Python import a module with this source."""
        (site_packages,) = self.prefix.glob("lib/python3*/site-packages")
        (site_packages / f"{module}.py").write_text(source)
        (site_packages / f"{module}.pth").write_text(f"import {module}\n")

    @contextlib.contextmanager
    def _stamped(self, name: str, made_from: object) -> Iterator[bool]:
        """Yield whether the step is stale; stamp it when the body ends well."""
        if self.is_complete(name, made_from):
            yield False
            return
        print(f"[setup] {name} ...", flush=True)
        started = time.monotonic()
        yield True
        (self._stamps / name.replace(" ", "_")).write_text(_digest(made_from))
        print(f"[setup] {name}: {time.monotonic() - started:.0f} s", flush=True)

    def _works(self) -> bool:
        command = [str(self.python), "-c", "import pip"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def _digest(made_from: object) -> str:
    return hashlib.sha256(repr(made_from).encode()).hexdigest()


def run(command: list[str]) -> None:
    """Run `command` without the packages that `PYTHONPATH` adds: pip would build with them.

    Raises:
        SetupError: if it fails; it has said why.
    """
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise SetupError(f"this failed, see above:\n  {' '.join(command)}")
