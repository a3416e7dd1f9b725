"""The order in which samples are drawn: random, and yet each piece of a file is unpacked once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np

from vla_ros.core.errors import UserError

#: A block of samples takes about so much memory [bytes], and has between so many samples.
BLOCK_BYTES = 8 * 2**20
SMALLEST, LARGEST = 4, 32
#: Blocks that samples are drawn from at a time, in each stream.
OPEN_BLOCKS = 32


class BlockShuffle:
    """Draws every sample once an epoch, in batches; give it to a DataLoader as `batch_sampler`.

    Episodes are cut into blocks of consecutive samples. The blocks are shuffled, some of them are
    open at a time, and each draw takes a random one of all samples that are left in those. A
    block is closed when its last sample was drawn. So a batch mixes samples of as many places as
    blocks are open (or as it has samples), which is what decides how alike its samples are; what
    a full shuffle has beyond that is that two samples of a block seldom meet within an epoch.

    Batch `k` is of stream `k` modulo `streams`; a DataLoader with as many workers gives each of
    them its own stream, whose blocks no other worker has to unpack. One seed gives one order, for
    each number of streams another one, and for each epoch.

    Attributes:
        epoch: Number of the epoch that is drawn next.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        block: int = LARGEST,
        open_blocks: int = OPEN_BLOCKS,
        streams: int = 1,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        """Prepare to draw.

        Args:
            lengths: Samples of each episode.
            batch_size: Samples of a batch.
            block: Samples of a block, at most.
            open_blocks: Of each stream, at a time.
            streams: Into which the blocks are divided; 1 or more.
            seed: Of everything.
            drop_last: Whether batches that are not full are left out.

        Raises:
            UserError: if a number is below 1.
        """
        for name, value in (
            ("batch_size", batch_size), ("block", block),
            ("open_blocks", open_blocks), ("streams", streams),
        ):  # fmt: skip
            if value < 1:
                raise UserError(f"{name} is {value}; expected 1 or more")
        self.batch_size, self.block, self.open_blocks = batch_size, block, open_blocks
        self.streams, self.seed, self.epoch = streams, seed, 0
        self._drop_last = drop_last
        starts = np.cumsum([0, *lengths])
        self._blocks = [
            range(begin, min(begin + block, end))
            for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
            for begin in range(start, end, block)
        ]

    def __len__(self) -> int:
        """Batches of an epoch."""
        drawn = self._divided(np.random.default_rng((self.seed, self.epoch)))
        counts = [sum(map(len, blocks)) for blocks in drawn]
        size = self.batch_size
        return sum(n // size if self._drop_last else -(-n // size) for n in counts)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of an epoch: the samples' numbers, counted on through the episodes."""
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        divided = self._divided(rng)
        batches = [self._batches(blocks, child) for blocks, child in zip(
            divided, rng.spawn(self.streams), strict=True
        )]  # fmt: skip
        live = set(range(self.streams))
        for stream in cycle(range(self.streams)):
            if not live:
                return
            # once a stream is at its end, others take its turns, and workers share what is left
            for turn in (stream, *sorted(live)):
                batch = next(batches[turn], None) if turn in live else None
                if batch is not None:
                    yield batch
                    break
                live.discard(turn)

    def _divided(self, rng: np.random.Generator) -> list[list[range]]:
        """Return the shuffled blocks of each stream."""
        order = rng.permutation(len(self._blocks))
        shuffled = [self._blocks[index] for index in order]
        return [shuffled[stream :: self.streams] for stream in range(self.streams)]

    def _batches(self, blocks: list[range], rng: np.random.Generator) -> Iterator[list[int]]:
        waiting = iter(blocks)
        left: list[list[int]] = []
        batch: list[int] = []
        while True:
            while len(left) < self.open_blocks and (block := next(waiting, None)) is not None:
                left.append(rng.permutation(np.array(block)).tolist())
            if not left:
                break
            counts = np.array([len(each) for each in left])
            chosen = int(np.searchsorted(np.cumsum(counts), rng.integers(counts.sum()), "right"))
            batch.append(left[chosen].pop())
            if not left[chosen]:
                left.pop(chosen)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self._drop_last:
            yield batch


def block_length(sample_bytes: int) -> int:
    """Return how many samples a block has: fewer where they are large."""
    return int(np.clip(BLOCK_BYTES // max(sample_bytes, 1), SMALLEST, LARGEST))
