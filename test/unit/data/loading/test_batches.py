"""Shuffled batches: every sample once an epoch, the same for the same seed, well mixed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.data.loading.batches import SampleDataset, load_batches
from vla_ros.data.loading.recordings import RecordedSamples
from vla_ros.data.loading.sample import Asked, Feature, Sample, stack
from vla_ros.data.loading.shuffling import BlockShuffle, block_length
from vla_ros.testing.small_recordings import SmallEpisode, write_small_recording

torch = pytest.importorskip("torch")

LENGTHS = (300, 1, 77, 250, 500, 33)


class Numbers:
    """A source whose samples are their own numbers; remembers what was read."""

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.lengths = lengths
        self.features = {"x": Feature(shape=(2,), dtype="float32")}
        self.reads: list[tuple[int, int, int]] = []

    def read(self, episode: int, first: int, stop: int) -> list[Sample]:
        self.reads.append((episode, first, stop))
        return [{"at": np.int64(10_000 * episode + at)} for at in range(first, stop)]


@pytest.mark.parametrize("streams", [1, 2, 5])
def test_every_sample_is_drawn_once_an_epoch(streams: int) -> None:
    order = BlockShuffle(LENGTHS, 64, streams=streams, open_blocks=4)
    expected = len(order)
    batches = list(order)
    assert len(batches) == expected
    assert sorted(index for batch in batches for index in batch) == list(range(sum(LENGTHS)))
    assert max(map(len, batches)) == 64


def test_batches_that_are_not_full_are_left_out_if_so_wished() -> None:
    order = BlockShuffle(LENGTHS, 64, streams=2, drop_last=True)
    expected = len(order)
    batches = list(order)
    assert len(batches) == expected
    assert {len(batch) for batch in batches} == {64}


def test_one_seed_gives_one_order_and_each_epoch_another() -> None:
    first, again = BlockShuffle(LENGTHS, 16, seed=3), BlockShuffle(LENGTHS, 16, seed=3)
    epochs = [list(first), list(first)]
    assert [list(again), list(again)] == epochs
    assert epochs[0] != epochs[1]
    assert list(BlockShuffle(LENGTHS, 16, seed=4)) != epochs[0]


def test_a_batch_mixes_about_as_many_places_as_a_full_shuffle() -> None:
    lengths = (200,) * 50
    blocks = [
        len({index // 32 for index in batch}) for batch in BlockShuffle(lengths, 64, block=32)
    ]
    # 32 open blocks: a batch of 64 that draws from them evenly meets 32 (1 - (31/32)^64) = 27.8
    assert np.mean(blocks[: len(blocks) // 2]) == pytest.approx(27.8, abs=2.5)
    episodes = [len({index // 200 for index in b}) for b in BlockShuffle(lengths, 64, block=32)]
    assert np.mean(episodes[: len(episodes) // 2]) > 18  # a full shuffle has 36


def test_no_worker_reads_what_another_one_reads() -> None:
    order = BlockShuffle(LENGTHS, 16, streams=2, block=20)
    starts = np.cumsum([0, *LENGTHS])
    readers: dict[tuple[int, int], set[int]] = {}
    batches = list(order)
    for number, batch in enumerate(batches[: len(batches) * 3 // 4]):
        for index in batch:
            episode = int(np.searchsorted(starts, index, "right")) - 1
            key = (episode, (index - int(starts[episode])) // 20)
            readers.setdefault(key, set()).add(number % 2)
    assert all(len(found) == 1 for found in readers.values())


def test_every_block_is_read_once_an_epoch() -> None:
    source = Numbers(LENGTHS)
    dataset = SampleDataset(source, block=25)
    for batch in BlockShuffle(LENGTHS, 64, block=25):
        got = dataset.__getitems__(batch)["at"]
        assert len(got) == len(batch)
    assert max(Counter(source.reads).values()) == 1
    assert len(source.reads) == sum(-(-length // 25) for length in LENGTHS)


def test_samples_come_right_in_an_order_that_nobody_planned_for() -> None:
    dataset = SampleDataset(Numbers(LENGTHS), block=7)
    starts = np.cumsum([0, *LENGTHS])
    for index in np.random.default_rng(0).integers(sum(LENGTHS), size=3000).tolist():
        episode = int(np.searchsorted(starts, index, "right")) - 1
        assert dataset[index]["at"] == 10_000 * episode + index - starts[episode]
    with pytest.raises(IndexError):
        dataset[sum(LENGTHS)]


def test_what_a_sample_lacks_is_said_to_be_missing() -> None:
    features = {"x": Feature(shape=(2,), dtype="float32")}
    batch = stack([{"task": "a", "x": np.ones(2, np.float32)}, {"task": "b"}], features)
    assert batch["task"] == ["a", "b"]
    np.testing.assert_array_equal(batch["x"], [[1, 1], [0, 0]])
    np.testing.assert_array_equal(batch["x_is_missing"], [False, True])


def test_samples_of_two_sizes_are_named() -> None:
    samples = [{"x": np.ones(2)}, {"x": np.ones(3)}]
    with pytest.raises(UserError, match=r"x: has several sizes, \[\(2,\), \(3,\)\]"):
        stack(samples, {})


def test_large_samples_are_read_in_smaller_blocks() -> None:
    assert block_length(100) == 32
    assert block_length(2**20) == 8
    assert block_length(2**30) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_for_training_are_the_same_for_the_same_seed(tmp_path: Path, workers: int) -> None:
    write_small_recording(tmp_path, [SmallEpisode(seed=seed, length_s=0.6) for seed in range(3)])
    source = RecordedSamples([tmp_path], Asked(horizon=4))

    def stamps(seed: int) -> list[Any]:
        loader = load_batches(source, 8, workers=workers, seed=seed)
        batches = list(loader)
        assert sum(len(batch["task"]) for batch in batches) == sum(source.lengths)
        images = batches[0]["observation.images.front"]
        assert images.dtype == torch.uint8
        assert tuple(images.shape) == (8, 24, 32, 3)
        assert tuple(batches[0]["action"].shape) == (8, 4, 6)
        return [batch["stamp_ns"].tolist() for batch in batches]

    assert stamps(0) == stamps(0) != stamps(1)
