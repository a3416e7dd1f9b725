"""Batches of samples for training: what a torch DataLoader needs, and one that is ready."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from vla_ros.data.loading.sample import Sample, SampleReader, stack
from vla_ros.data.loading.shuffling import OPEN_BLOCKS, BlockShuffle, block_length

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


class SampleDataset:
    """Samples by their number, as torch's `Dataset` gives them; reads whole blocks.

    Attributes:
        block: Samples that are read together.
    """

    def __init__(self, source: SampleReader, block: int | None = None) -> None:
        """Read from a source.

        Args:
            source: Of the samples.
            block: Samples that are read together; None for what suits their size.
        """
        self.source = source
        size = sum(feature.bytes for feature in source.features.values())
        self.block = block or block_length(size)
        self._starts = np.cumsum([0, *source.lengths])
        self._open: OrderedDict[tuple[int, int], list[Sample | None]] = OrderedDict()

    def __len__(self) -> int:
        """Samples of all episodes."""
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Sample:
        """Return a sample; what it lacks is absent."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        episode = int(np.searchsorted(self._starts, index, "right")) - 1
        number, place = divmod(index - int(self._starts[episode]), self.block)
        key = (episode, number)
        samples = self._open.get(key)
        sample = None if samples is None else samples[place]
        if samples is None or sample is None:
            samples = self._read(*key)
            sample = samples[place]
            assert sample is not None
        samples[place] = None  # an epoch draws a sample once
        if not any(each is not None for each in samples):
            del self._open[key]
        return sample

    def __getitems__(self, indices: list[int]) -> Sample:
        """Return a batch; torch asks for it so, where it can."""
        return stack([self[index] for index in indices], self.source.features)

    def _read(self, episode: int, number: int) -> list[Sample | None]:
        first = number * self.block
        stop = min(first + self.block, self.source.lengths[episode])
        samples: list[Sample | None] = [*self.source.read(episode, first, stop)]
        self._open[(episode, number)] = samples
        while len(self._open) > 2 * OPEN_BLOCKS:  # somebody draws in another order
            self._open.popitem(last=False)
        return samples


def load_batches(
    source: SampleReader,
    batch_size: int,
    *,
    workers: int = 0,
    seed: int = 0,
    drop_last: bool = False,
) -> DataLoader[Any]:
    """Return a DataLoader of shuffled batches; every pass over it is another epoch.

    Batches are dicts: tensors (B, ...) by feature, images (B, H, W, 3) in 8 bits as they were
    recorded, depth (B, H, W) [m]; `task` is a list of texts. They are the same for the same seed
    and number of workers.

    Args:
        source: Of the samples.
        batch_size: Samples of a batch.
        workers: Processes that read; 0 reads in this one.
        seed: Of the order.
        drop_last: Whether batches that are not full are left out.
    """
    # data is imported by what runs without torch
    from torch.utils.data import DataLoader

    dataset = SampleDataset(source)
    order = BlockShuffle(
        source.lengths,
        batch_size,
        block=dataset.block,
        streams=max(workers, 1),
        seed=seed,
        drop_last=drop_last,
    )
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_sampler=order,
        num_workers=workers,
        collate_fn=to_tensors,  # type: ignore[arg-type]
        persistent_workers=workers > 0,
    )


def to_tensors(batch: Sample) -> dict[str, Any]:
    """Return a batch with tensors in place of arrays, on the same memory."""
    import torch

    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in batch.items()
    }


def endless(loader: DataLoader[Any]) -> Iterator[dict[str, Any]]:
    """Yield batches of one epoch after another."""
    while True:
        yield from loader
