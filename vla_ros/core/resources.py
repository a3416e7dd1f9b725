"""Where the package's own files are: contracts, models, robot descriptions, launch files.

They lie in one of three places, tried in this order: beside the package, in a source checkout or
an editable install; inside the package; under `share/vla_ros` of the prefix that the package, or
an ament prefix, is installed in. ament's index is not asked: the wheels do not set it up.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from vla_ros.core.errors import UserError

PACKAGE = "vla_ros"


class ResourceNotFound(UserError):
    """A file of the package is in none of the places it can be.

    Attributes:
        relative: The path that was asked for.
        searched: The places that were looked at.
    """

    def __init__(self, relative: str, searched: tuple[Path, ...]) -> None:
        self.relative = relative
        self.searched = searched
        places = "\n".join(f"  {place}" for place in searched)
        super().__init__(
            f"{relative}: not among the files of {PACKAGE}. Looked in\n{places}\n"
            "Install the package with `make` or colcon, or run from a source checkout."
        )


def resource_path(relative: str) -> Path:
    """Return the path of one of the package's files or folders.

    Args:
        relative: Path from the repository's top, for example `config/robots/tabletop_sim.yaml`.

    Raises:
        ResourceNotFound: if it is nowhere; names the places.
    """
    roots = tuple(resource_roots())
    for root in roots:
        if (path := root / relative).exists():
            return path
    raise ResourceNotFound(relative, roots)


def resource_roots() -> Iterator[Path]:
    """Yield the folders that may hold the package's files, best first."""
    package = Path(__file__).resolve().parents[1]
    if (package.parent / "package.xml").is_file():
        yield package.parent
    yield package
    ament = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    prefixes = [
        *(parent for parent in package.parents if (parent / "share" / PACKAGE).is_dir()),
        Path(sys.prefix),
        *(Path(prefix) for prefix in ament if prefix),
    ]
    for prefix in dict.fromkeys(prefixes):
        yield prefix / "share" / PACKAGE
