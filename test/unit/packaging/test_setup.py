"""Setting up: what is checked first, what is said when something is missing, what is redone."""

from __future__ import annotations

import sys
from pathlib import Path

import machine
import pytest
import setup_env
from build_interfaces import mend_exported_cmake
from environment import Environment
from machine import Interpreter, SetupError, SourcedRos

JAZZY = SourcedRos(distro="jazzy")


def interpreter(version: tuple[int, int] = (3, 12), *, ros: bool = False) -> Interpreter:
    return Interpreter(
        path="/usr/bin/python3", version=version, headers=True, can_make_venv=True,
        numpy="1.26.4", ros=ros,
    )  # fmt: skip


def test_an_old_python_is_refused_with_the_versions_that_work() -> None:
    with pytest.raises(SetupError, match=r"is Python 3\.10; vla_ros needs 3\.11 to 3\.14"):
        machine.check_python(interpreter((3, 10)), None)


def test_a_machine_without_wheels_is_sent_to_an_installed_ros(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(SetupError, match=r"(?s)no ROS 2 wheels for Linux on aarch64.*Install ROS"):
        machine.check_python(interpreter(), None)
    machine.check_python(interpreter(ros=True), JAZZY)


def test_a_sourced_ros_of_another_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(SetupError, match=r"'jazzy' is sourced, but /usr/bin/python3"):
        machine.check_python(interpreter(), JAZZY)


@pytest.mark.parametrize("variable", ["ROS_DISTRO", "AMENT_PREFIX_PATH"])
def test_ros_is_sourced_when_its_variables_are_set(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ROS_DISTRO", "AMENT_PREFIX_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert machine.find_sourced_ros() is None
    monkeypatch.setenv(variable, "jazzy")
    assert machine.find_sourced_ros() is not None


def test_everything_missing_is_named_in_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(machine, "has_egl", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: None if name == "c++" else f"/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SetupError, match=r"g\+\+ libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0"):
        machine.check_packages(interpreter(), None)


def test_another_renderer_needs_no_egl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(machine, "has_egl", lambda: False)
    assert machine.find_missing_packages(interpreter(), None) == []


def test_a_step_is_done_again_only_when_its_source_changed(tmp_path: Path) -> None:
    done: list[str] = []
    (tmp_path / ".setup").mkdir()
    for source in ("one", "one", "two"):
        environment = Environment(tmp_path, None)
        environment.step("packages", source, lambda source=source: done.append(source))  # type: ignore[misc]
    assert done == ["one", "two"]


def test_a_step_that_failed_is_done_again(tmp_path: Path) -> None:
    (tmp_path / ".setup").mkdir()
    environment = Environment(tmp_path, None)
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    for _ in range(2):
        with (
            pytest.raises(SetupError, match="this failed"),
            environment.in_background("interfaces", "source", command),
        ):
            pass
    assert not environment.is_complete("interfaces", "source")


def test_an_environment_for_another_ros_is_not_mixed(tmp_path: Path) -> None:
    prefix = tmp_path / ".venv"
    python = prefix / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    Environment(prefix, None).create(sys.executable)
    Environment(prefix, None).create(sys.executable)
    with pytest.raises(SetupError, match=r"made with the ROS 2 wheels.*asks for ROS 2 jazzy"):
        Environment(prefix, JAZZY).create(sys.executable)


def test_without_a_sourced_ros_the_pins_stay_as_they_are(tmp_path: Path) -> None:
    pins = ["numpy==2.4.6", "rich==15.0.0"]
    assert Environment(tmp_path, None).adapt(pins) == pins


def test_the_cmake_files_of_the_wheels_get_this_machines_paths(tmp_path: Path) -> None:
    exported = tmp_path / "share" / "some_msgs" / "cmake" / "someExport.cmake"
    exported.parent.mkdir(parents=True)
    exported.write_text(
        'X "/opt/python/cp311-cp311/include/python3.11;'
        '/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include"'
    )
    assert mend_exported_cmake(tmp_path) == 1
    assert mend_exported_cmake(tmp_path) == 0
    assert "/opt/python" not in exported.read_text()
    assert exported.read_text().endswith('site-packages/numpy/_core/include"')


def test_what_has_no_wheels_for_a_machine_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extras = ["openvino", "tensorrt-rtx", "serve"]
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert setup_env.installable(extras) == extras
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert setup_env.installable(extras) == ["openvino", "serve"]
    assert "tensorrt-rtx: left out, it has no wheels for aarch64" in capsys.readouterr().out


@pytest.mark.parametrize("name", setup_env.EXTRAS)
def test_every_extra_that_can_be_asked_for_has_its_pins(name: str) -> None:
    assert setup_env.read_requirements(name)


def test_a_step_that_was_ever_done_is_remembered(tmp_path: Path) -> None:
    (tmp_path / ".setup").mkdir()
    environment = Environment(tmp_path, None)
    assert not environment.was_done("gpu packages")
    environment.step("gpu packages", "pins", lambda: None)
    assert environment.was_done("gpu packages")
    assert not environment.is_complete("gpu packages", "other pins")
