"""Bundles: what is written is read back, and whatever is wrong with one is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import BundleError
from vla_ros.core.resources import resource_path
from vla_ros.learning.recipes import tabletop_small
from vla_ros.policy.bundle import (
    DESCRIPTION,
    GRAPH,
    GROUNDING,
    LANGUAGE,
    TOKENIZER,
    WEIGHTS,
    Bundle,
)
from vla_ros.policy.configuration import PolicyConfig

FILES = (GROUNDING, WEIGHTS, GRAPH, LANGUAGE, TOKENIZER)


@pytest.fixture
def copy(untrained_bundle: Path, tmp_path: Path) -> Path:
    """A copy of a bundle that a test may spoil."""
    return Path(shutil.copytree(untrained_bundle, tmp_path / "copy"))


def edit(folder: Path, **changes: object) -> None:
    description = folder / DESCRIPTION
    data = {**json.loads(description.read_text()), **changes}
    description.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))


def test_a_bundle_says_what_it_is(untrained_bundle: Path) -> None:
    bundle = Bundle.open(untrained_bundle)
    assert bundle.name == "untrained"
    assert set(bundle.files) == set(FILES)
    assert bundle.training == {"steps": 0}
    assert len(bytes.fromhex(bundle.sha256)) == 32
    assert PolicyConfig.from_dict(bundle.policy) == tabletop_small()
    contract = RobotContract.from_dict(bundle.contract)
    assert contract.to_dict() == load_contract("tabletop_sim").to_dict()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_one_flipped_bit_in_any_file_is_refused_and_the_file_named(
    copy: Path, name: str, where: str
) -> None:
    size = (copy / name).stat().st_size
    with (copy / name).open("r+b") as file:
        file.seek({"first": 0, "middle": size // 2, "last": size - 1}[where])
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(BundleError, match=rf"{name}: is corrupted: SHA-256 .*get the bundle"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: is missing"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(copy: Path, name: str) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match=f"{name}: is corrupted"):
        Bundle.open(copy)


def test_a_folder_without_a_description_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=rf"{DESCRIPTION}: is missing; name a bundle directory"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"name": "x"}', "\xff\xfe"])
def test_a_broken_description_is_named(copy: Path, text: str) -> None:
    (copy / DESCRIPTION).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=DESCRIPTION):
        Bundle.open(copy)


def test_a_bundle_of_another_format_is_refused(copy: Path) -> None:
    edit(copy, format=99)
    with pytest.raises(BundleError, match="has format 99, this version reads 2"):
        Bundle.open(copy)


def test_a_file_that_the_bundle_does_not_list_is_not_opened(copy: Path) -> None:
    with pytest.raises(BundleError, match=r"has no weights\.pt"):
        Bundle.open(copy).file("weights.pt")


def test_the_description_changes_the_hash(copy: Path, untrained_bundle: Path) -> None:
    edit(copy, name="another")
    assert Bundle.open(copy).sha256 != Bundle.open(untrained_bundle).sha256


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_files_outside_the_bundle_are_refused(copy: Path, name: str) -> None:
    edit(copy, files={name: "0" * 64})
    with pytest.raises(BundleError):
        Bundle.open(copy)


@pytest.mark.parametrize("changes", [{"files": {"policy.onnx": 3}}, {"files": ["policy.onnx"]}])
def test_a_malformed_list_of_files_is_refused(copy: Path, changes: dict[str, object]) -> None:
    edit(copy, **changes)
    with pytest.raises(BundleError):
        Bundle.open(copy)


def test_an_exported_graph_does_not_tell_where_it_was_made(untrained_bundle: Path) -> None:
    for graph in (untrained_bundle / GRAPH, resource_path("models/tabletop-small") / GRAPH):
        content = graph.read_bytes()
        assert b".py" not in content
        assert str(Path.cwd()).encode() not in content
