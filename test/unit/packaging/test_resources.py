"""The package's own files are found from a checkout, from an install, and from an ament prefix."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_ros.core import resources
from vla_ros.core.resources import ResourceNotFound, resource_path

ROOT = Path(__file__).resolve().parents[3]


def pretend_installed_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = folder / "vla_ros" / "core" / "resources.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(resources, "__file__", str(module))


def make_file(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_a_checkout_uses_the_files_beside_the_package() -> None:
    assert resource_path("config/fastdds.xml") == ROOT / "config" / "fastdds.xml"


def test_an_installed_package_uses_the_share_folder_of_its_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_installed_in(tmp_path / "lib" / "python3.12" / "site-packages", monkeypatch)
    installed = make_file(tmp_path / "share" / "vla_ros" / "config" / "robot.yaml")
    assert resource_path("config/robot.yaml") == installed


def test_a_sourced_workspace_is_searched_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_installed_in(tmp_path / "build", monkeypatch)
    installed = make_file(tmp_path / "install" / "share" / "vla_ros" / "config" / "robot.yaml")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path / 'install'}")
    assert resource_path("config/robot.yaml") == installed


def test_a_missing_file_is_named_with_the_places_that_were_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(ResourceNotFound) as caught:
        resource_path("config/robots/nobody.yaml")
    assert str(caught.value).startswith("config/robots/nobody.yaml: not among the files")
    assert caught.value.searched[0] == ROOT
    assert str(ROOT) in str(caught.value)
    assert "Install the package with `make` or colcon" in str(caught.value)
