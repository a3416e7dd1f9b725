"""What pip and colcon install is complete and consistent."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import vla_ros

ROOT = Path(__file__).resolve().parents[3]
#: Those that may be installed together.
REQUIREMENTS = (
    "ros", "run", "train", "torch", "pretrained", "points", "test", "openvino", "tensorrt-rtx",
    "quantize", "serve", "data", "scale", "gpu",
)  # fmt: skip
SHIPPED = ("bench", "config", "launch", "resource", "urdf", "vla_ros")
FIND_AN_INSTALLED_FILE = """
import vla_ros
from vla_ros.core.resources import resource_path
print(vla_ros.__file__)
print(resource_path("config/fastdds.xml"))
print(resource_path("urdf/so101.urdf.xacro"))
print(resource_path("launch/sim.launch.py"))
"""


def pins(name: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_package_descriptions_and_code_agree_on_the_version() -> None:
    setup = re.search(r'version="([^"]+)"', (ROOT / "setup.py").read_text())
    described = {
        ElementTree.parse(path).getroot().findtext("version")
        for path in (ROOT / "package.xml", ROOT / "interfaces" / "package.xml")
    }
    assert setup is not None
    assert described == {setup[1]} == {vla_ros.__version__}


def imported(folder: str) -> set[str]:
    """Return the packages that the Python files of a folder import, without their modules."""
    names: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
            elif isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
    return {name.partition(".")[0] for name in names}


def test_package_xml_names_the_ros_packages_that_are_imported_and_no_others() -> None:
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {item.text or "" for item in root.findall("exec_depend")}
    ros = re.compile(r"\w+_(msgs|srvs|interfaces)|rclpy|launch|launch_ros|ament_\w+")
    used = {name for name in imported("vla_ros") | imported("launch") if ros.fullmatch(name)}
    assert {name for name in declared if ros.fullmatch(name)} == used


def test_every_interface_file_is_generated() -> None:
    listed = set(
        re.findall(r'"(\w+/\w+\.\w+)"', (ROOT / "interfaces" / "CMakeLists.txt").read_text())
    )
    files = {
        path.relative_to(ROOT / "interfaces").as_posix()
        for kind in ("msg", "srv", "action")
        for path in (ROOT / "interfaces" / kind).iterdir()
    }
    assert listed == files


@pytest.mark.parametrize("name", [*REQUIREMENTS, "lerobot"])
def test_every_requirement_is_pinned(name: str) -> None:
    assert pins(name)
    for line in pins(name):
        assert re.fullmatch(r"[a-zA-Z0-9.-]+==[0-9][0-9.a-z]*(; python_version .*)?", line), line


def test_no_two_requirement_files_pin_a_package_differently() -> None:
    seen: dict[str, str] = {}
    for name in REQUIREMENTS:
        for package, _, version in (line.lower().partition("==") for line in pins(name)):
            assert seen.setdefault(package, version) == version, package


def test_what_runs_pulls_in_no_training_package_and_no_engine_but_one() -> None:
    names = {line.partition("==")[0] for line in [*pins("run"), *pins("ros")]}
    assert not names & {"torch", "transformers", "mink", "scipy", "onnx", "matplotlib"}
    assert not names & {"openvino", "ray", "tensorrt-rtx-cu12", "onnxruntime-gpu"}


def test_every_file_of_requirements_is_checked_or_says_why_it_is_not_pinned() -> None:
    unpinned = {"jetson", "workspace"}
    files = {path.stem for path in (ROOT / "requirements").glob("*.txt")}
    assert files == {*REQUIREMENTS, "lerobot", *unpinned}
    for name in unpinned:
        said = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\n#", "")
        assert "ot pinned to the last digit" in said


def test_the_extras_are_those_that_the_engines_need_and_touch_no_numpy() -> None:
    call = next(
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.keyword) and node.arg == "extras_require"
    )
    extras = ast.literal_eval(call.value)
    assert set(extras) == {
        "test", "cpu", "gpu", "jetson", "openvino", "lerobot", "serve", "data", "scale",
    }  # fmt: skip
    names = [name for needed in extras.values() for name in needed]
    assert all(re.fullmatch(r"[a-z0-9-]+(\[(serve|data)\])?", name) for name in names)
    assert "numpy" not in names


def test_the_tests_install_every_engine_that_needs_no_gpu() -> None:
    makefile = (ROOT / "Makefile").read_text()
    installed = re.search(r"\$\(SETUP\) (.+ test)\n", makefile)
    assert installed is not None
    assert {"openvino", "tensorrt-rtx", "quantize", "serve"} <= set(installed[1].split())


def test_an_installed_package_brings_its_files_along(tmp_path: Path) -> None:
    checkout, target = tmp_path / "checkout", tmp_path / "target"
    for name in SHIPPED:
        shutil.copytree(
            ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "*.onnx")
        )
    for name in ("setup.py", "setup.cfg", "package.xml", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout / name)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    options = ["--no-build-isolation", "--no-deps", "--target", str(target), str(checkout)]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*pip, *options], check=True, capture_output=True, env=variables)
    found = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(target)!r})\n"
         + FIND_AN_INSTALLED_FILE],
        check=True, capture_output=True, text=True, cwd=tmp_path,
    ).stdout.splitlines()  # fmt: skip
    assert found == [
        str(target / "vla_ros" / "__init__.py"),
        str(target / "share" / "vla_ros" / "config" / "fastdds.xml"),
        str(target / "share" / "vla_ros" / "urdf" / "so101.urdf.xacro"),
        str(target / "share" / "vla_ros" / "launch" / "sim.launch.py"),
    ]
    index = target / "share" / "ament_index" / "resource_index" / "packages" / "vla_ros"
    assert index.is_file()
    assert (target / "vla_ros" / "py.typed").is_file()
