"""The robot's description: from a URDF or xacro file to its kinematic chain."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from vla_ros.core.errors import ContractError, UserError
from vla_ros.core.kinematics import Chain
from vla_ros.core.resources import resource_roots
from vla_ros.core.urdf import Urdf


def find_urdf(urdf: str, beside: Path | None = None) -> Path:
    """Return the file: an absolute path, one beside the contract, or one of the package's.

    Args:
        urdf: What the contract says.
        beside: Folder of the contract; None for one that came without a file.

    Raises:
        ContractError: if it is nowhere; names the places.
    """
    if Path(urdf).is_absolute():
        places = [Path(urdf)]
    else:
        folders = [] if beside is None else [beside]
        places = [folder / urdf for folder in (*folders, *resource_roots())]
    for place in places:
        if place.is_file():
            return place
    raise ContractError(
        f"robot.urdf: expected a file, found none at {' or '.join(map(str, places))}."
        " Give a path relative to the contract, or an absolute one."
    )


@functools.cache
def load_urdf(path: str) -> str:
    """Return the URDF text of a file; a `.xacro` file is expanded.

    Raises:
        ContractError: if the file cannot be read or expanded.
    """
    try:
        if not path.endswith(".xacro"):
            return Path(path).read_text(encoding="utf-8")
        import xacro

        return str(xacro.process_file(path).toxml())
    except ImportError as error:
        raise ContractError(f"{path}: a xacro file needs `pip install xacro`") from error
    except Exception as error:  # xacro raises whatever its expressions raise
        raise ContractError(f"{path}: {type(error).__name__}: {error}") from error


@functools.cache
def load_robot(urdf: str) -> Urdf:
    """Return the links and joints of a URDF file.

    Raises:
        ContractError: if there is no file, or it is no URDF.
    """
    path = find_urdf(urdf)
    try:
        return Urdf.parse(load_urdf(str(path)))
    except ContractError:
        raise
    except UserError as error:
        raise ContractError(f"{path}: {error}") from error


@functools.cache
def load_chain(urdf: str, base_link: str, tip_frame: str) -> Chain:
    """Return the chain between two links of a URDF file.

    Raises:
        ContractError: if there is no file or no such chain.
    """
    robot = load_robot(urdf)
    try:
        return Chain.between(robot, base_link, tip_frame)
    except UserError as error:
        raise ContractError(f"{urdf}: {error}") from error


def chain_sha256(chain: Chain) -> str:
    """Return a hash of names and geometry, equal for equal arms to a nanometre."""
    digest = hashlib.sha256(" ".join(chain.names).encode())
    for array in (chain.origins, chain.axes, chain.tip):
        # adding 0 makes -0 and 0 the same bytes
        digest.update((np.round(array, 9) + 0.0).astype("<f8").tobytes())
    return digest.hexdigest()
