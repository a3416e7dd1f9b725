"""The simulated robot's contract, with changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vla_ros.contract import RobotContract, find_contract, load_contract

#: A path of keys and a new value, `...` for none; or a function that changes the whole content.
Change = tuple[str, object] | Callable[[dict[str, Any]], object]


@pytest.fixture
def shipped_values() -> dict[str, Any]:
    """What the simulated robot's file says."""
    return dict(yaml.safe_load(find_contract("tabletop_sim").read_text()))


@pytest.fixture
def load(tmp_path: Path, shipped_values: dict[str, Any]) -> Callable[..., RobotContract]:
    """Load the simulated robot's contract with changes."""

    def load_changed(*changes: Change) -> RobotContract:
        content = copy.deepcopy(shipped_values)
        for change in changes:
            if callable(change):
                change(content)
            else:
                _put(content, *change)
        file = tmp_path / "my_arm.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return load_contract(file)

    return load_changed


def _put(content: dict[str, Any], path: str, value: object) -> None:
    *keys, last = path.split("/")
    for key in keys:
        content = content[key]
    if value is ...:
        del content[last]
    else:
        content[last] = value
