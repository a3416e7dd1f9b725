"""A small picture pasted into what the cameras see: an adversarial one, or a random one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.core.types import Observation, UInt8Array
from vla_ros.evaluation.disturbance.base import Disturbance, Filter, change_images

SHIPPED = "config/patches/tabletop-small.png"
#: Key of the PNG's text under which `vla_ros patch` notes the policy that it was made against.
BUNDLE_KEY = "bundle_sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialPatch(Disturbance):
    """A picture that was optimized to mislead the policy (Brown et al. 2017), on both cameras.

    It is pasted upright at a place that is drawn for each camera and stays for the episode.

    Attributes:
        png: The patch, as `vla_ros patch` makes one; None for the shipped one.
    """

    png: Path | None = None

    @property
    def effect(self) -> str:
        """Say what it is."""
        return "a picture made to mislead the policy is pasted into each camera's colour image"

    @property
    def stream(self) -> str:
        """Both patches are pasted at the same places, so that they can be compared."""
        return "patch"

    @property
    def fingerprint(self) -> str:
        """Tell patches apart by their pixels."""
        return f"{self.name} {hashlib.sha256(self.pixels().tobytes()).hexdigest()}"

    def pixels(self) -> UInt8Array:
        """Return the patch (h, w, 3).

        Raises:
            UserError: if it cannot be read.
        """
        return read_patch(self.path())

    def path(self) -> Path:
        """Return the file of the patch."""
        return resource_path(SHIPPED) if self.png is None else self.png

    def begin(self, rng: Generator) -> Filter:
        """Draw a place for each camera as it is first seen."""
        patch = self.pixels()
        places: dict[str, tuple[int, int]] = {}

        def paste(camera: str, image: UInt8Array) -> UInt8Array:
            if camera not in places:
                places[camera] = draw_place(rng, image, patch)
            top, left = places[camera]
            pasted = image.copy()
            pasted[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
            return pasted

        def disturb(seen: Observation) -> Observation:
            return change_images(seen, paste)

        return disturb


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomPatch(AdversarialPatch):
    """The adversarial patch's control: random colours of the same size at the same places."""

    @property
    def effect(self) -> str:
        """Say what it is."""
        return "random colours of the adversarial patch's size at the same places: its control"

    def pixels(self) -> UInt8Array:
        """Return the patch (h, w, 3), always the same one of a size."""
        height, width, _ = read_patch(self.path()).shape
        return random_patch(height, width)


def random_patch(height: int, width: int) -> UInt8Array:
    """Return a patch (height, width, 3) of random colours, always the same one of a size."""
    rng = np.random.default_rng((height, width, 31))
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def draw_place(rng: Generator, image: UInt8Array, patch: UInt8Array) -> tuple[int, int]:
    """Return the row and column of a patch's upper left corner, all of it in the image.

    Raises:
        UserError: if the patch is larger than the image.
    """
    room = [image.shape[axis] - patch.shape[axis] for axis in (0, 1)]
    if min(room) < 0:
        raise UserError(
            f"the patch has {patch.shape[1]} x {patch.shape[0]} px, the camera's image only "
            f"{image.shape[1]} x {image.shape[0]}; make a smaller one with `vla_ros patch`"
        )
    return int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1))


@cache
def read_patch(path: Path) -> UInt8Array:
    """Return the patch (h, w, 3) in a PNG.

    Raises:
        UserError: if there is none.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"), np.uint8)
    except OSError as error:
        raise UserError(f"{path}: is no picture: {error}; `vla_ros patch` makes one") from error


def patch_bundle(path: Path) -> str | None:
    """Return the hash of the bundle that a patch was made against, if it says so."""
    with Image.open(path) as picture:
        found = picture.info.get(BUNDLE_KEY)
    return None if found is None else str(found)
