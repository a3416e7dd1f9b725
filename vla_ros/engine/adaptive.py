"""Infer only when something has happened: a chunk that still holds is executed further.

Many observations tell nothing new: the arm is where the chunk has it, and nothing else moved.
Whether that is so is told without any network: by whether the policy's last two chunks agree on
what comes next, by how far the joints are from where the chunk has them, and by how much the
images changed on a coarse grid.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np

from vla_ros.core.demonstration import Demonstration
from vla_ros.core.engine_report import EngineReport
from vla_ros.core.errors import UserError
from vla_ros.core.protocols import (
    Attentive,
    Closable,
    Noticing,
    Policy,
    Promptable,
    Reporting,
)
from vla_ros.core.types import ActionChunk, Observation, UInt8Array
from vla_ros.engine.chunk_times import expected_state, later

#: Rows that the gate looks ahead when a chunk is replaced.
_MORE_ROWS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveSettings:
    """When a chunk is executed further.

    The more the arm has moved, the more of the images must have changed by that alone. What else
    changes then can be missed, for `max_age_s` at most.

    Attributes:
        max_age_s: How long after the observation it was made from a chunk is executed [s].
        min_remaining_s: A chunk that does not last so long any more is replaced [s].
        agreement_rad: How far the last two chunks may be apart in the rows that are to be executed
            [rad] ([m]). Before a grasp, say, a policy changes its mind from one image to the next:
            the end of such a chunk is no plan.
        first: Inferences after each new instruction that are made in any case: what the words
            mean, and where things stand, is found in those.
        cells: Images are compared on so many cells along each side.
        level: A cell has changed if one of its colours has, by so much of 255.
        changed: Share of a camera's cells that may have changed while the arm stood still.
        changed_per_rad: How much larger that share may be for every radian that the joint which
            moved farthest has moved: nearly all of a camera's view changes with the hand it is on.
        on_hand: Names of the cameras on the hand.
        changed_per_rad_on_hand: The same for those.
        joint_error_rad: How far a joint may be from where the chunk has it [rad] ([m]).
    """

    max_age_s: float = 0.2
    min_remaining_s: float = 0.25
    agreement_rad: float = 0.08
    first: int = 5
    cells: int = 16
    level: float = 12.0
    changed: float = 0.02
    changed_per_rad: float = 1.5
    on_hand: tuple[str, ...] = ("wrist",)
    changed_per_rad_on_hand: float = 3.0
    joint_error_rad: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: names the setting, what was expected and what came.
        """
        for name in ("first", "cells"):
            if getattr(self, name) < 1:
                raise UserError(f"adaptive: {name} is {getattr(self, name)}; expected 1 or more")
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "on_hand" and not (math.isfinite(value) and value >= 0):
                raise UserError(f"adaptive: {item.name} is {value}; expected 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Inference:
    """An inference that was made, what the scene looked like, and whether it was expected."""

    observation: Observation
    chunk: ActionChunk
    thumbnails: Mapping[str, UInt8Array]
    expected: bool


class AdaptivePolicy:
    """Asks another policy only when its last chunk does not hold any more.

    A chunk that is executed further is cut and stamped anew: its rows are of fixed times, so those
    that have passed are dropped, and it never begins again. Progress and grounding stay those of
    the last inference. One policy serves one instruction at a time; it is not thread-safe.
    """

    def __init__(self, inner: Policy, settings: AdaptiveSettings | None = None) -> None:
        """Ask `inner`; None takes the usual settings."""
        self._inner = inner
        self._settings = settings or AdaptiveSettings()
        self._last: _Inference | None = None
        self._made = 0
        #: Observations that were answered.
        self.observations = 0
        #: Why they took an inference: `first`, `plan`, `old`, `short`, `sensors`, `joints`, or a
        #: camera.
        self.reasons: Counter[str] = Counter()

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self._inner.name

    @property
    def bundle_sha256(self) -> str:
        """Hash of the bundle."""
        return self._inner.bundle_sha256

    @property
    def inferences(self) -> int:
        """How many inferences were made."""
        return self.reasons.total()

    @property
    def saved(self) -> float:
        """Share of the observations that took no inference, 0 to 1."""
        return 1.0 - self.inferences / self.observations if self.observations else 0.0

    def start(self, instruction: str) -> None:
        """Hand on a new instruction, and forget the chunk of the old one."""
        self._last, self._made = None, 0
        self._inner.start(instruction)

    def show(self, demonstrations: Sequence[Demonstration]) -> None:
        """Hand on demonstrations.

        Raises:
            UserError: if the policy takes none, or cannot use these.
        """
        if not isinstance(self._inner, Promptable):
            raise UserError(f"policy '{self.name}' cannot be shown anything; it only reads words")
        self._inner.show(demonstrations)

    def draw_attention(self, observation: Observation, camera: str) -> UInt8Array | None:
        """Return the image of a camera with what the last inference looked at."""
        if not isinstance(self._inner, Attentive):
            return None
        return self._inner.draw_attention(observation, camera)

    def report_engines(self) -> tuple[EngineReport, ...]:
        """Return what runs the policy; nothing of a policy that does not say."""
        return self._inner.report_engines() if isinstance(self._inner, Reporting) else ()

    def close(self) -> None:
        """Free what the policy holds."""
        if isinstance(self._inner, Closable):
            self._inner.close()

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the chunk for one observation: a new one, or what is left of the last.

        Raises:
            ObservationError: if a required feature is missing or malformed; names it.
        """
        thumbnails = {
            camera: self._thumbnail(image) for camera, image in observation.images.items()
        }
        reason = self._reason(observation, thumbnails)
        if reason:
            before, self._last = self._last, None  # if this fails, no older chunk comes back
            chunk = self._inner.infer(observation)
            self._last = _Inference(
                observation=observation,
                chunk=chunk,
                thumbnails=thumbnails,
                expected=before is not None and self._agree(before.chunk, chunk),
            )
            self._made += 1
            self.reasons[reason] += 1
        else:
            assert self._last is not None
            if isinstance(self._inner, Noticing):
                self._inner.notice(observation)
            chunk = later(self._last.chunk, observation.stamp_ns)
        self.observations += 1
        return chunk

    def _reason(self, seen: Observation, thumbnails: Mapping[str, UInt8Array]) -> str:
        """Return why an inference is needed; "" if none is."""
        last, settings = self._last, self._settings
        if last is None or self._made < settings.first:
            return "first"
        if not last.expected:
            return "plan"
        before, chunk = last.observation, last.chunk
        age_s = (seen.stamp_ns - chunk.stamp_ns) * 1e-9
        if not 0.0 <= age_s <= settings.max_age_s + 1e-6:
            return "old"
        remaining_s = (chunk.end_ns - seen.stamp_ns) * 1e-9
        if remaining_s < max(settings.min_remaining_s, chunk.step_s) - 1e-6:
            return "short"
        if _sensors(seen) != _sensors(before) or not thumbnails:
            return "sensors"
        # true for good values only: NaN is no reason to go on, and the policy refuses it
        error = np.abs(seen.state - expected_state(before, chunk, seen.stamp_ns))
        if not bool((error <= settings.joint_error_rad).all()):
            return "joints"
        moved = float(np.abs(seen.state - before.state).max())
        for camera, now in thumbnails.items():
            hand = camera in settings.on_hand
            rate = settings.changed_per_rad_on_hand if hand else settings.changed_per_rad
            share = self._changed_share(last.thumbnails[camera], now)
            if share > settings.changed + rate * moved:
                return camera
        return ""

    def _agree(self, before: ActionChunk, chunk: ActionChunk) -> bool:
        """Return whether a chunk has the joints where the one before it had them."""
        if not before.stamp_ns <= chunk.stamp_ns < before.end_ns:
            return False
        left = later(before, chunk.stamp_ns).positions
        count = min(len(left), math.ceil(self._settings.max_age_s / chunk.step_s) + _MORE_ROWS)
        if left.shape[1:] != chunk.positions.shape[1:] or len(chunk.positions) < count:
            return False
        apart = np.abs(left[:count] - chunk.positions[:count])
        return bool((apart <= self._settings.agreement_rad).all())

    def _thumbnail(self, image: UInt8Array) -> UInt8Array:
        """Return an image as its cells' mean colours (cells, cells, 3)."""
        if image.ndim != 3 or image.dtype != np.uint8 or not image.size:
            return np.zeros((0, 0, 3), np.uint8)  # the policy refuses it, and says why
        cells = self._settings.cells
        small = cv2.resize(image, (cells, cells), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.uint8)

    def _changed_share(self, before: UInt8Array, now: UInt8Array) -> float:
        """Return which share of the cells has changed."""
        if before.shape != now.shape:
            return 1.0
        apart = np.abs(before.astype(np.int16) - now).max(-1)
        return float((apart > self._settings.level).mean())


def describe_saving(policy: Policy) -> dict[str, float]:
    """Return how many inferences were saved, for a report; nothing of a policy that saves none."""
    if not isinstance(policy, AdaptivePolicy):
        return {}
    return {"inferences": policy.inferences, "inferences_saved": round(policy.saved, 3)}


def _sensors(seen: Observation) -> tuple[object, ...]:
    """Return what of a robot's sensors is there, and in which sizes."""
    return (
        {camera: image.shape for camera, image in seen.images.items()},
        {camera: depth.shape for camera, depth in seen.depths.items()},
        seen.imu is None,
        seen.state.shape,
    )
