"""What a process of a training run draws at random, and how that goes on after a stop."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch


class RandomStreams:
    """numpy draws the rows of a batch, torch the noise; other streams in every process.

    Attributes:
        numpy: The generator that rows are drawn with.
    """

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        """Seed torch alike in all processes, so that they draw the same first weights.

        Args:
            seed: Of the run.
            rank: Of the process.
            device: Where torch draws.
        """
        self._seed, self._rank, self._device = seed, rank, device
        torch.manual_seed(seed)
        self.numpy = np.random.default_rng((seed, 0, rank) if rank else (seed, 0))

    def part(self) -> None:
        """Draw other noise than the other processes from here on."""
        if self._rank:
            self._seed_torch(self._seed, self._rank)

    def begin_at(self, step: int) -> None:
        """Begin streams of their own at a step of which no state was kept."""
        self.numpy = np.random.default_rng((self._seed, step, *([self._rank] * bool(self._rank))))
        self._seed_torch(self._seed, self._rank, step)

    def state(self) -> dict[str, Any]:
        """Return where the streams are, as tensors and text."""
        state: dict[str, Any] = {
            "torch": torch.get_rng_state(),
            "numpy": json.dumps(self.numpy.bit_generator.state),
        }
        if self._device.type != "cpu":
            state[self._device.type] = torch.get_device_module(self._device).get_rng_state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; a device that it does not tell of draws anew."""
        torch.set_rng_state(state["torch"])
        self.numpy.bit_generator.state = json.loads(state["numpy"])
        if self._device.type in state:
            torch.get_device_module(self._device).set_rng_state(state[self._device.type])

    def _seed_torch(self, *entropy: int) -> None:
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))


def kept_states(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the state of every process's streams in a checkpoint; none if it keeps none."""
    if "torch_random" in checkpoint:  # of before there were several processes
        return [{"torch": checkpoint["torch_random"], "numpy": checkpoint["numpy_random"]}]
    states: list[dict[str, Any]] = checkpoint.get("random", [])
    return states
