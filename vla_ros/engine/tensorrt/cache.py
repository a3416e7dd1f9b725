"""Where built engines are kept: a folder outside the bundle, that may be deleted at any time.

A bundle that `vla_ros export` made may have engines of its own too; they are read, never written.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import Graph
from vla_ros.engine.tensorrt.files import replace_file
from vla_ros.engine.tensorrt.metadata import EngineKey, EngineMetadata, check_engine
from vla_ros.engine.tensorrt.precision import read_graph
from vla_ros.policy.bundle import file_sha256

#: Builds the engine of a key into the folder that is given, and returns its file.
Build = Callable[[Path], Path]

_DIGEST_BYTES = hashlib.sha256().digest_size


class EngineCache:
    """Engine files by what they depend on. Several processes may use one folder at once.

    A file is loaded only if it is exactly what is wanted: same graph, library version, GPU,
    precision and number of robots, and not a byte changed since it was built.
    """

    def __init__(self, folder: Path, also: Sequence[Path] = ()) -> None:
        """Use a folder.

        Args:
            folder: Where engines are kept, and built.
            also: Other folders in which there may be some; nothing is written there.
        """
        self.folder = folder
        self._folders = (folder, *also)

    def obtain(
        self,
        key: EngineKey,
        build: Build | None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> tuple[Path, EngineMetadata]:
        """Return a checked engine file, built if it has to be.

        Args:
            key: Which one.
            build: Builds it; None where that is not wanted.
            progress: Is told why one is built.

        Raises:
            EngineError: if there is none that may be loaded and none may be built, or building
                fails; says why.
        """
        try:
            return self._find(key)
        except EngineError as error:
            if build is None:
                raise EngineError(
                    f"{error}; nothing is built, as was asked for: leave out `prebuilt`, or run a "
                    "bundle with engines of its own, made by `vla_ros export BUNDLE --target "
                    f"{key.library.replace('_', '-')}`"
                ) from error
            progress(f"{error}; building it")
        with self._alone(key):
            own = self.folder / key.file_name
            try:  # while this process waited, another one may have built it
                return own, check_engine(own, key)
            except EngineError:
                built = build(self.folder)
                return built, check_engine(built, key)

    def _find(self, key: EngineKey) -> tuple[Path, EngineMetadata]:
        """Return the first file that is what is wanted.

        Raises:
            EngineError: if none is; says why of the first that is there.
        """
        paths = [folder / key.file_name for folder in self._folders]
        refusals: list[EngineError] = []
        for path in [path for path in paths if path.is_file()] or paths[:1]:
            try:
                return path, check_engine(path, key)
            except EngineError as error:
                refusals.append(error)
        raise refusals[0]

    @contextmanager
    def _alone(self, key: EngineKey) -> Iterator[None]:
        """Build an engine once: two robots on one machine may start with the same bundle.

        Without this each would write the engine and its metadata, and one's metadata could end
        beside the other's engine.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / f"{key.file_name}.lock").open("wb")
        except OSError as error:
            raise EngineError(f"{self.folder}: engines cannot be kept there: {error}") from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)  # freed with the file
            yield

    def read_kernels(self, engine: Path) -> bytes:
        """Return the kernels that were compiled for an engine; empty if there are none.

        A file that was truncated or changed counts as none: they are compiled anew.
        """
        try:
            data = self._kernels_of(engine).read_bytes()
        except OSError:
            return b""
        digest, kernels = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        return kernels if hashlib.sha256(kernels).digest() == digest else b""

    def write_kernels(self, engine: Path, kernels: bytes) -> None:
        """Keep the kernels that were compiled for an engine.

        Raises:
            OSError: if they cannot be written; the engine runs without.
        """
        replace_file(self._kernels_of(engine), hashlib.sha256(kernels).digest() + kernels)

    def _kernels_of(self, engine: Path) -> Path:
        return self.folder / f"{engine.name}.kernels"


def bundled(graph: Graph, library: str) -> tuple[Path, ...]:
    """Return the folders of a bundle in which `vla_ros export` leaves engines."""
    if graph.bundle is None:
        return ()
    return graph.bundle / "engines" / library, graph.bundle / "engines"


def key_of(
    graph: Graph,
    *,
    library: str,
    version: str,
    device: str,
    precision: str,
    fewest: int = 1,
    most: int = 1,
) -> EngineKey:
    """Return what the engine of a graph depends on.

    Raises:
        EngineError: if the graph cannot be read.
    """
    try:
        sha256 = graph_sha256(graph)
    except OSError as error:
        raise EngineError(f"{graph.path}: cannot be read: {error}") from error
    return EngineKey(
        graph=graph.path.stem,
        graph_sha256=sha256,
        library=library,
        version=version,
        device=device,
        precision=precision,
        fewest=fewest,
        most=most,
    )


def graph_sha256(graph: Graph) -> str:
    """Return the hash of a graph, with that of weights in other files where it has such.

    Raises:
        EngineError: if the file is no graph.
        OSError: if a file cannot be read.
    """
    own = graph.sha256
    tensors = read_graph(graph.path).graph.initializer
    names = {
        entry.value for each in tensors for entry in each.external_data if entry.key == "location"
    }
    if not names:
        return own
    parts = [own, *(file_sha256(graph.path.parent / name) for name in sorted(names))]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
