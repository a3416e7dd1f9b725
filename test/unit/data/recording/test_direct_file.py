from __future__ import annotations

import random
from pathlib import Path

import pytest

from vla_ros.data.direct_file import BLOCK, PIECE, DirectFile


def test_pieces_of_any_size_are_what_the_file_holds(tmp_path: Path) -> None:
    rng = random.Random(0)
    sizes = [1, BLOCK - 1, 1, BLOCK, BLOCK + 1, PIECE - 3, PIECE, 3 * PIECE + 5, 7]
    path, written = tmp_path / "file", b""
    file = DirectFile(path)
    for size in sizes:
        buffers = [rng.randbytes(size), b"", rng.randbytes(3)]
        file.append(buffers)
        written += b"".join(buffers)
        assert file.size == len(written)
        on_disk = path.read_bytes()
        assert on_disk[: len(written)] == written
        assert on_disk[len(written) :] == bytes(len(on_disk) - len(written))
        assert len(on_disk) - len(written) < BLOCK
    file.close()
    file.close()
    assert path.read_bytes() == written


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        DirectFile(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_who_waits_for_the_disk_does_not_mind_that_the_file_is_closed_meanwhile(
    tmp_path: Path,
) -> None:
    file = DirectFile(tmp_path / "file")
    file.append([b"mine"])
    file.sync()
    file.close()
    file.sync()
    assert (tmp_path / "file").read_bytes() == b"mine"
