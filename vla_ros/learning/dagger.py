"""Let a learner drive while the expert labels (DAgger; Ross, Gordon, Bagnell 2011)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from vla_ros.core.types import FloatArray, Observation
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.learning.imagined import imagine_anchor, imagine_points
from vla_ros.learning.rollouts import positions_of, things
from vla_ros.policy.configuration import MODALITIES
from vla_ros.policy.model import Inputs, Policy
from vla_ros.sim.tabletop import CAMERAS, Tabletop


class ExpertShare:
    """Decides for stretches of steps whether the expert or the learner drives."""

    def __init__(self, rng: Generator, share: float) -> None:
        """Give the expert about `share` of the time, in stretches of half a second."""
        self._rng, self._share = rng, share
        self._left = 0
        self._expert = False

    def expert_drives(self) -> bool:
        """Return whose turn the next step is."""
        if self._left == 0:
            self._left = int(self._rng.integers(5, 16))
            self._expert = bool(self._rng.random() < self._share)
        self._left -= 1
        return self._expert


class BundleDriver:
    """A bundle drives from rendered images, exactly as it will at run time."""

    def __init__(self, policy: BundlePolicy, rng: Generator, expert_share: float) -> None:
        """Drive one episode with the policy, which has been given the instruction."""
        self._policy, self._share = policy, ExpertShare(rng, expert_share)

    def __call__(self, table: Tabletop, expert: FloatArray) -> FloatArray:
        """Return the learner's chunk, or the expert's when it is its turn."""
        rendered = {camera: table.render(camera) for camera in CAMERAS}
        chunk = self._policy.infer(
            Observation(
                stamp_ns=round(table.time_s * 1e9),
                state=table.joint_positions.astype(np.float32),
                command=table.command.astype(np.float32),
                images={camera: rgb for camera, (rgb, _) in rendered.items()},
                depths={camera: depth for camera, (_, depth) in rendered.items()},
                imu=table.imu_window(),
            )
        )
        return expert if self._share.expert_drives() else chunk.positions


class ImaginingDriver:
    """The control half drives from imagined sightings: no rendering, ten times as fast."""

    def __init__(
        self, policy: Policy, slots: torch.Tensor, rng: Generator, expert_share: float
    ) -> None:
        """Drive one episode; `slots` (1, 4, width) say what the instruction means."""
        self._policy, self._slots = policy, slots
        self._share = ExpertShare(rng, expert_share)
        self._before: FloatArray | None = None
        self._anchor: torch.Tensor | None = None

    @torch.no_grad()
    def __call__(self, table: Tabletop, expert: FloatArray) -> FloatArray:
        """Return the learner's chunk, or the expert's when it is its turn."""
        positions = table.joint_positions
        velocity = (positions - (self._before if self._before is not None else positions)) / 0.05
        self._before = positions
        if self._share.expert_drives():
            return expert
        scene = table.scene
        names = things(scene)
        asked = [names.index(scene.named), names.index(scene.target or scene.named)]
        truth = _tensor(positions_of(table)[asked])  # as training sees them
        has_target = torch.tensor([float(scene.target is not None)])
        if self._anchor is None:
            self._anchor = imagine_anchor(truth[None], has_target)
        lead = table.command - positions
        state = _tensor(np.concatenate([positions, velocity, lead]))[None]
        nothing = torch.zeros(0)
        inputs = Inputs(
            rgb=(nothing, nothing),
            depth=(nothing, nothing),
            imu=_tensor(table.imu_window())[None],
            state=state,
            slots=nothing,
            queries=nothing,
            anchor=self._anchor,
            present=torch.ones(1, len(MODALITIES)),
        )
        points = imagine_points(self._policy, state, truth[None, 0], truth[None, 1], has_target)
        chunk = self._policy.act(inputs, self._slots, points).chunk[0]
        return np.asarray(chunk.numpy(), np.float64)


def _tensor(values: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))
