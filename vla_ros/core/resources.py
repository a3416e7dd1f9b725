"""Where the package's own files are."""

from pathlib import Path


def resource_path(relative: str) -> Path:
    """Return the path of one of the package's files."""
    return Path(__file__).resolve().parents[2] / relative
