"""What several folders of tests share; heavy packages are imported only where they are used."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_ros.core.resources import resource_path


@pytest.fixture(scope="session")
def language_files() -> Path:
    """The folder of the shipped language encoder."""
    return resource_path("models/tabletop-small")


@pytest.fixture(scope="session")
def untrained_bundle(tmp_path_factory: pytest.TempPathFactory, language_files: Path) -> Path:
    """A bundle with random weights, exported as a trained one is; do not write into it."""
    import torch

    from vla_ros.contract import load_contract
    from vla_ros.learning.recipes import tabletop_small
    from vla_ros.policy.export import save_pretrained
    from vla_ros.policy.model import Policy

    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("bundle") / "untrained"
    save_pretrained(
        Policy(tabletop_small()),
        directory,
        name="untrained",
        contract=load_contract("tabletop_sim").to_dict(),
        training={"steps": 0},
        language=language_files,
    )
    return directory
