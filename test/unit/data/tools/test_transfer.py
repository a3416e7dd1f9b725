"""Datasets to and from storage and a hub, which are stood in for on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import fsspec
import pytest
from typer.testing import CliRunner

from vla_ros.cli.data import data
from vla_ros.core.errors import UserError
from vla_ros.data.transfer.hub import HubDataset
from vla_ros.data.transfer.manifest import NAME
from vla_ros.data.transfer.storage_transfer import pull, push


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder of files such as a recording has."""
    folder = tmp_path / "dataset"
    for number in range(3):
        episode = folder / f"episode_{number:06d}"
        episode.mkdir(parents=True)
        (episode / f"episode_{number:06d}_0.mcap").write_bytes(bytes([number]) * 50_000)
        (episode / "episode.json").write_text(json.dumps({"number": number, "text": "größer"}))
    (folder / ".hidden").write_text("not of the dataset")
    return folder


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty place in storage."""
    if request.param == "memory":
        yield "memory://bucket/set"
        memory = fsspec.filesystem("memory")
        if memory.exists("/bucket"):
            memory.rm("/bucket", recursive=True)
    else:
        yield f"file://{tmp_path}/store/set"


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_what_is_pulled_is_what_was_pushed(dataset: Path, url: str, tmp_path: Path) -> None:
    told: list[str] = []
    sent = push(dataset, url, on_file=lambda path, size: told.append(path))
    assert (sent.moved, sent.kept) == (6, 0)
    assert sorted(told) == sorted(_content(dataset))
    fetched = pull(url, tmp_path / "fetched")
    assert (fetched.moved, fetched.kept, fetched.size) == (6, 0, sent.size)
    assert _content(tmp_path / "fetched") == _content(dataset)
    again = push(dataset, url)
    assert (again.moved, again.kept) == (0, 6)


def test_another_state_is_sent_only_when_asked_to_and_only_what_differs(
    dataset: Path, url: str, tmp_path: Path
) -> None:
    push(dataset, url)
    (dataset / "episode_000001" / "episode.json").write_text("{}")
    shutil.rmtree(dataset / "episode_000002")
    with pytest.raises(UserError, match=r"holds another state .*--update"):
        push(dataset, url)
    sent = push(dataset, url, update=True)
    assert (sent.moved, sent.kept) == (1, 3)
    pull(url, tmp_path / "fetched")
    assert _content(tmp_path / "fetched") == _content(dataset)


def _fail_after(count: int, monkeypatch: pytest.MonkeyPatch, system: type, name: str) -> None:
    """Have a file system lose its connection after so many files."""
    real = getattr(system, name)
    done: list[Any] = []

    def move(self: Any, *arguments: Any, **options: Any) -> None:
        if len(done) >= count:
            raise ConnectionResetError("the line is cut")
        done.append(arguments)
        real(self, *arguments, **options)

    monkeypatch.setattr(system, name, move)


def test_a_push_that_was_cut_off_is_not_pulled_and_goes_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    import vla_ros.data.transfer.storage_transfer as module

    url = f"file://{tmp_path}/store/set"
    monkeypatch.setattr(module, "LISTED_BYTES", 1)
    with monkeypatch.context() as cut:
        _fail_after(4, cut, LocalFileSystem, "put_file")
        with pytest.raises(UserError, match=r"2 of 6 files were not moved.*the line is cut"):
            push(dataset, url)
    with pytest.raises(UserError, match="is not whole"):
        pull(url, tmp_path / "fetched")
    sent = push(dataset, url)
    assert (sent.moved, sent.kept) == (2, 4)
    pull(url, tmp_path / "fetched")
    assert _content(tmp_path / "fetched") == _content(dataset)


def test_a_pull_that_was_cut_off_leaves_no_folder_and_goes_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    url, folder = f"file://{tmp_path}/store/set", tmp_path / "fetched"
    push(dataset, url)
    with monkeypatch.context() as cut:
        _fail_after(4, cut, LocalFileSystem, "get_file")
        with pytest.raises(UserError, match="2 of 6 files were not moved"):
            pull(url, folder)
    assert not folder.exists()
    fetched = pull(url, folder)
    assert (fetched.moved, fetched.kept) == (2, 4)
    assert _content(folder) == _content(dataset)


def test_a_file_that_was_changed_in_storage_is_not_taken(dataset: Path, tmp_path: Path) -> None:
    store = tmp_path / "store" / "set"
    push(dataset, f"file://{store}")
    spoilt = store / "episode_000001" / "episode_000001_0.mcap"
    spoilt.write_bytes(b"\xff" + spoilt.read_bytes()[1:])
    with pytest.raises(UserError, match=r"episode_000001_0\.mcap: it is not what was sent"):
        pull(f"file://{store}", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside", "c:/outside"])
def test_a_list_that_names_a_file_outside_is_refused(
    dataset: Path, tmp_path: Path, path: str
) -> None:
    store = tmp_path / "store" / "set"
    push(dataset, f"file://{store}")
    values = json.loads((store / NAME).read_text())
    values["files"][path] = {"size": 1, "sha256": "0"}
    (store / NAME).write_text(json.dumps(values))
    with pytest.raises(UserError, match="is not within the dataset"):
        pull(f"file://{store}", tmp_path / "fetched")


def test_what_is_there_is_not_overwritten(dataset: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    push(dataset, f"file://{store}/set")
    with pytest.raises(UserError, match="is there already"):
        pull(f"file://{store}/set", dataset)
    (store / "letters").mkdir()
    (store / "letters" / "mine.txt").write_text("dear")
    with pytest.raises(UserError, match="is no dataset that was pushed"):
        push(dataset, f"file://{store}/letters")
    with pytest.raises(UserError, match="expected what `vla_ros data push` sent"):
        pull(f"file://{store}/letters", tmp_path / "fetched")


def test_any_web_server_can_be_pulled_from(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    push(dataset, f"file://{tmp_path}/store/set")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=f"{tmp_path}/store"))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        pull(f"http://127.0.0.1:{server.server_port}/set", tmp_path / "fetched")
    finally:
        server.shutdown()
        server.server_close()
    assert _content(tmp_path / "fetched") == _content(dataset)


class Hub(BaseHTTPRequestHandler):
    """As much of a hub's interface as a push and a pull of small files ask for."""

    def do_POST(self) -> None:
        hub: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub.tokens.add(self.headers.get("Authorization"))
        if self.path == "/api/repos/create":
            self._answer({"url": f"{hub.address}/datasets/me/cubes", "id": "me/cubes"})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            modes = [
                {"path": item["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for item in asked
            ]
            self._answer({"files": modes})
        elif "/commit/" in self.path:
            hub.commits += 1
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    hub.files[entry["value"]["path"]] = content
                if entry["key"] == "deletedFile":
                    del hub.files[entry["value"]["path"]]
            place = f"{hub.address}/datasets/me/cubes/commit/{'c' * 40}"
            self._answer({"success": True, "commitOid": "c" * 40, "commitUrl": place})
        elif "/tag/" in self.path:
            tag = json.loads(body)["tag"]
            self._answer({}, 409 if tag in hub.tags else 200)
            hub.tags[tag] = unquote(self.path.rpartition("/")[2])
        else:
            self._answer({"error": f"no {self.path}"}, 404)

    def do_DELETE(self) -> None:
        hub: Any = self.server
        there = hub.tags.pop(self.path.rpartition("/")[2], None)
        if there is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer({})

    def do_GET(self) -> None:
        hub: Any = self.server
        path = unquote(self.path.partition("?")[0])
        if re.fullmatch(r"/api/datasets/me/cubes(/revision/\w+)?", path):
            names = [{"rfilename": name} for name in hub.files]
            self._answer({"id": "me/cubes", "sha": "c" * 40, "siblings": names})
        elif path.startswith("/api/datasets/me/cubes/tree/"):
            self._answer(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                    for name, data in hub.files.items()
                ]
            )
        elif match := re.fullmatch(r"/datasets/me/cubes/resolve/\w+/(.+)", path):
            self._send_file(hub.files.get(match[1]))
        else:
            self._answer({"error": f"no {path}"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send_file(self, content: bytes | None) -> None:
        if content is None:
            self._answer({"error": "no such file"}, 404)
            return
        self.send_response(200)
        self.send_header("ETag", f'"{_oid(content)}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _answer(self, values: Any, status: int = 200) -> None:
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub on this machine."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.files, server.tokens, server.tags, server.commits = {}, set(), {}, 0
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_hub_gets_the_dataset_in_one_commit_and_gives_it_back(
    dataset: Path, hub: Any, tmp_path: Path
) -> None:
    cubes = HubDataset.from_url("hf://datasets/me/cubes", hub.address)
    assert cubes.push(dataset).startswith(f"{hub.address}/datasets/me/cubes")
    assert hub.commits == 1
    assert set(hub.files) == {*_content(dataset), NAME}
    assert cubes.pull(tmp_path / "fetched") == 6
    assert _content(tmp_path / "fetched") == _content(dataset)
    assert not (tmp_path / "fetched" / ".cache").exists()


def test_what_a_hub_changed_is_not_taken(dataset: Path, hub: Any, tmp_path: Path) -> None:
    cubes = HubDataset.from_url("hf://datasets/me/cubes", hub.address)
    cubes.push(dataset)
    hub.files["episode_000001/episode.json"] = b"{}"
    with pytest.raises(UserError, match=r"episode_000001/episode\.json is not what was pushed"):
        cubes.pull(tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_lerobot_dataset_gets_the_tag_by_which_lerobot_looks_for_it(
    dataset: Path, hub: Any
) -> None:
    (dataset / "meta").mkdir()
    (dataset / "meta" / "info.json").write_text('{"codebase_version": "v3.0"}')
    cubes = HubDataset.from_url("hf://datasets/me/cubes", hub.address)
    cubes.push(dataset)
    assert hub.tags == {"v3.0": "c" * 40}
    hub.tags["v3.0"] = "an older commit"
    cubes.push(dataset)
    assert hub.tags == {"v3.0": "c" * 40}


def test_what_was_deleted_here_is_deleted_on_the_hub(
    dataset: Path, hub: Any, tmp_path: Path
) -> None:
    hub.files["README.md"] = b"written by a person"
    cubes = HubDataset.from_url("hf://datasets/me/cubes", hub.address)
    cubes.push(dataset)
    shutil.rmtree(dataset / "episode_000001")
    cubes.push(dataset)
    cubes.pull(tmp_path / "fetched")
    assert _content(tmp_path / "fetched") == {
        **_content(dataset), "README.md": b"written by a person",
    }  # fmt: skip


def test_a_hub_that_refuses_is_named_without_the_token(
    dataset: Path, hub: Any, tmp_path: Path
) -> None:
    other = HubDataset.from_url("hf://datasets/me/others", hub.address)
    with pytest.raises(UserError, match=f"me/others on {hub.address}") as caught:
        other.pull(tmp_path / "fetched")
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["hf://me/cubes", "hf://datasets/cubes", "hf://datasets/a/b/c"])
def test_what_names_no_dataset_of_a_hub_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="expected hf://datasets/OWNER/NAME"):
        HubDataset.from_url(url)


def test_the_commands_say_what_they_did(dataset: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store/set"
    done = CliRunner().invoke(data, ["push", str(dataset), url], catch_exceptions=False)
    assert f"{url}: 6 files sent, 0 were there, 0.2 MB in all" in done.output
    folder = tmp_path / "fetched"
    done = CliRunner().invoke(data, ["pull", url, str(folder)], catch_exceptions=False)
    assert f"{folder}: 6 files fetched, 0 were there" in done.output
    with pytest.raises(UserError, match="expected a URL"):
        CliRunner().invoke(data, ["push", str(dataset), "elsewhere"], catch_exceptions=False)
