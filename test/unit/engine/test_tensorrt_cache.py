"""Which engine files are loaded, and which never are."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import Graph
from vla_ros.engine.tensorrt.building import BuiltEngine, build_engine
from vla_ros.engine.tensorrt.cache import EngineCache, bundled
from vla_ros.engine.tensorrt.metadata import EngineKey
from vla_ros.testing.small_graph import write_small_graph

pytest.importorskip("tensorrt_rtx")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> BuiltEngine:
    folder = tmp_path_factory.mktemp("original")
    return _build(Graph(path=write_small_graph(folder / "small.onnx")), folder / "engines")


@pytest.fixture
def built(original: BuiltEngine, tmp_path: Path) -> BuiltEngine:
    """The engine, in a folder that a test may spoil."""
    shutil.copytree(original.path.parent, tmp_path / "engines")
    return replace(original, path=tmp_path / "engines" / original.path.name)


@pytest.fixture
def cache(built: BuiltEngine) -> EngineCache:
    return EngineCache(built.path.parent)


def test_what_is_there_is_taken_and_not_built_again(
    cache: EngineCache, built: BuiltEngine
) -> None:
    def build(folder: Path) -> Path:
        raise AssertionError("was built again")

    assert cache.obtain(built.metadata.key, build) == (built.path, built.metadata)


def test_several_that_miss_an_engine_at_once_build_it_once(
    built: BuiltEngine, tmp_path: Path
) -> None:
    cache, together = EngineCache(tmp_path / "fresh"), threading.Barrier(3)
    builds: list[Path] = []
    found: list[object] = []

    def build(folder: Path) -> Path:
        builds.append(folder)
        for file in built.path.parent.iterdir():
            shutil.copy(file, folder)
        return folder / built.path.name

    def obtain() -> None:
        together.wait(10.0)
        found.append(cache.obtain(built.metadata.key, build)[1])

    threads = [threading.Thread(target=obtain) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert (len(builds), found) == (1, [built.metadata] * 3)


def test_a_spoiled_engine_in_the_cache_does_not_hide_that_of_the_bundle(
    built: BuiltEngine, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(built.path.parent, own)
    _truncate(own / built.path.name)
    cache = EngineCache(own, [built.path.parent])
    assert cache.obtain(built.metadata.key, None) == (built.path, built.metadata)


def _truncate(engine: Path) -> None:
    engine.write_bytes(engine.read_bytes()[:-100])


def _change(engine: Path) -> None:
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)


def _empty(engine: Path) -> None:
    engine.write_bytes(b"")


def _lose_engine(engine: Path) -> None:
    engine.unlink()


def _lose_metadata(engine: Path) -> None:
    _beside(engine).unlink()


def _cut_metadata(engine: Path) -> None:
    _beside(engine).write_text(_beside(engine).read_text()[:200])


def _empty_metadata(engine: Path) -> None:
    _beside(engine).write_text("[]")


def _other_format(engine: Path) -> None:
    _edit(engine, format=99)


SPOILED = {
    _truncate: "bytes instead of",
    _change: "was changed: SHA-256",
    _empty: "has 0 bytes instead of",
    _lose_engine: "has not been built yet",
    _lose_metadata: "nobody knows what",
    _cut_metadata: "says nothing of an engine",
    _empty_metadata: "says nothing of an engine",
    _other_format: "format 99, this version reads 1",
}


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_spoiled_engine_is_refused_with_the_reason_where_nothing_may_be_built(
    cache: EngineCache, built: BuiltEngine, spoil: object
) -> None:
    spoil(built.path)  # type: ignore[operator]
    with pytest.raises(EngineError, match=SPOILED[spoil]) as caught:  # type: ignore[index]
        cache.obtain(built.metadata.key, None)
    assert built.path.name in str(caught.value)
    assert "vla_ros export BUNDLE --target tensorrt-rtx" in str(caught.value)


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_spoiled_engine_is_built_anew_where_that_is_allowed_and_the_reason_told(
    cache: EngineCache, built: BuiltEngine, original: BuiltEngine, spoil: object
) -> None:
    spoil(built.path)  # type: ignore[operator]
    graph = Graph(path=original.path.parent.parent / "small.onnx")
    heard: list[str] = []
    path, metadata = cache.obtain(
        built.metadata.key, lambda folder: _build(graph, folder).path, heard.append
    )
    assert len(heard) == 1
    assert SPOILED[spoil] in heard[0]  # type: ignore[index]
    assert heard[0].endswith("; building it")
    assert path == built.path
    assert metadata.key == built.metadata.key
    assert cache.obtain(built.metadata.key, None)[0] == path


@pytest.mark.parametrize(
    "difference",
    [
        {"graph_sha256": "0" * 64},
        {"version": "1.6.0.1"},
        {"device": "SM89"},
        {"precision": "fp16"},
        {"most": 2},
        {"library": "tensorrt"},
    ],
    ids=lambda difference: next(iter(difference)),
)
def test_an_engine_for_something_else_is_never_taken_even_under_the_right_name(
    cache: EngineCache, built: BuiltEngine, difference: dict[str, object]
) -> None:
    wanted: EngineKey = replace(built.metadata.key, **difference)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="has not been built yet"):
        cache.obtain(wanted, None)
    for path in (built.path, _beside(built.path)):
        path.rename(path.with_name(path.name.replace(built.path.name, wanted.file_name)))
    (name, value), *_ = difference.items()
    found = getattr(built.metadata.key, name)
    with pytest.raises(EngineError, match=f"built with {name} {found}, wanted is {value}; it is"):
        cache.obtain(wanted, None)


def test_another_version_is_not_taken_even_with_metadata_that_claims_it(
    cache: EngineCache, built: BuiltEngine
) -> None:
    wanted = replace(built.metadata.key, version="9.9.9.9")
    path = built.path.rename(built.path.with_name(wanted.file_name))
    replace(built.metadata, key=wanted).write(path)
    version = built.metadata.key.version
    with pytest.raises(EngineError, match=rf"built by version {version}, not by 9\.9\.9\.9"):
        cache.obtain(wanted, None)


def test_a_build_that_fails_says_why(cache: EngineCache, built: BuiltEngine) -> None:
    def build(folder: Path) -> Path:
        raise EngineError("the GPU is on fire")

    _truncate(built.path)
    with pytest.raises(EngineError, match="the GPU is on fire"):
        cache.obtain(built.metadata.key, build)


def test_two_that_build_the_same_at_once_leave_one_good_engine(
    original: BuiltEngine, tmp_path: Path
) -> None:
    graph = Graph(path=original.path.parent.parent / "small.onnx")
    threads = [threading.Thread(target=_build, args=(graph, tmp_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert EngineCache(tmp_path).obtain(original.metadata.key, None)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_engine_that_an_export_left_in_the_bundle_is_taken_where_the_cache_has_none(
    built: BuiltEngine, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "engines").mkdir(parents=True)
    left = bundle / "engines" / "tensorrt_rtx"
    built.path.parent.rename(left)
    folders = bundled(Graph(path=bundle / "small.onnx", bundle=bundle), "tensorrt_rtx")
    cache = EngineCache(tmp_path / "cache", folders)
    path, _ = cache.obtain(built.metadata.key, None)
    assert path == left / built.path.name
    cache.write_kernels(path, b"kernels")
    assert cache.read_kernels(path) == b"kernels"
    assert not list(left.glob("*.kernels"))  # a bundle may be read-only
    assert bundled(Graph(path=bundle / "small.onnx"), "tensorrt_rtx") == ()


def test_kernels_are_kept_and_those_that_were_changed_are_not_used(
    cache: EngineCache, built: BuiltEngine
) -> None:
    assert cache.read_kernels(built.path) == b""
    cache.write_kernels(built.path, b"kernels")
    assert cache.read_kernels(built.path) == b"kernels"
    (kept,) = built.path.parent.glob("*.kernels")
    whole = kept.read_bytes()
    for data in (whole[:-1], whole[:10], b"", whole[:-1] + b"S"):
        kept.write_bytes(data)
        assert cache.read_kernels(built.path) == b""


def test_a_folder_that_cannot_be_written_is_named(original: BuiltEngine, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    graph = Graph(path=original.path.parent.parent / "small.onnx")
    with pytest.raises(EngineError, match="cannot be written"):
        _build(graph, tmp_path / "taken" / "engines")


def _beside(engine: Path) -> Path:
    return engine.with_name(engine.name + ".json")


def _edit(engine: Path, **values: object) -> None:
    data = json.loads(_beside(engine).read_text())
    _beside(engine).write_text(json.dumps(data | values))


def _build(graph: Graph, folder: Path) -> BuiltEngine:
    return build_engine(
        graph,
        library="tensorrt_rtx",
        precision="fp32",
        compute_capability="SM86",
        output=folder,
    )
