"""Several recordings and datasets as one source of samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import CONTRACT, episode_folders
from vla_ros.data.lerobot.reader import LeRobotReader
from vla_ros.data.loading.lerobot import LeRobotSamples, is_dataset
from vla_ros.data.loading.recordings import OnSkip, RecordedSamples
from vla_ros.data.loading.sample import (
    EPISODE,
    Array,
    Asked,
    Feature,
    Joints,
    Sample,
    SampleSource,
)


class JoinedSamples:
    """The episodes of several sources, one source after the other."""

    def __init__(self, sources: Sequence[SampleSource]) -> None:
        """Join sources.

        Raises:
            UserError: if there is none, or they have a feature in several sizes; names it.
        """
        if not sources:
            raise UserError("there are no recordings to train from; name some folders")
        self._sources = list(sources)
        self.lengths = [length for source in sources for length in source.lengths]
        self._firsts = list(accumulate((len(source.lengths) for source in sources), initial=0))
        self.features: dict[str, Feature] = {}
        for source in sources:
            for name, feature in source.features.items():
                if self.features.setdefault(name, feature) != feature:
                    raise UserError(
                        f"{name}: is {feature.shape} {feature.dtype} in one recording and "
                        f"{self.features[name].shape} {self.features[name].dtype} in another; "
                        "train from them apart"
                    )

    @property
    def weights(self) -> list[Array]:
        """What each sample of each episode counts, (N,) each."""
        return [each for source in self._sources for each in source.weights]

    def joints(self, episode: int) -> Joints:
        """Return where the joints of an episode were, and where they were sent."""
        source, own = self._find(episode)
        return source.joints(own)

    def tasks(self, episode: int) -> list[str]:
        """Return the instruction of each sample of an episode."""
        source, own = self._find(episode)
        return source.tasks(own)

    def read(self, episode: int, first: int, stop: int) -> list[Sample]:
        """Return the samples of some frames of an episode that follow one another."""
        source, own = self._find(episode)
        samples = source.read(own, first, stop)
        for sample in samples:
            sample[EPISODE] = sample[EPISODE] - own + episode
        return samples

    def _find(self, episode: int) -> tuple[SampleSource, int]:
        at = max(index for index, first in enumerate(self._firsts[:-1]) if first <= episode)
        return self._sources[at], episode - self._firsts[at]


def open_samples(
    folders: Sequence[Path],
    asked: Asked | None = None,
    *,
    cache: Path | None = None,
    on_skip: OnSkip | None = None,
) -> JoinedSamples:
    """Return the samples of recordings and LeRobotDatasets.

    Args:
        folders: Of each; of a single episode, too.
        asked: What every sample has.
        cache: Folder that keeps what is known of recorded episodes.
        on_skip: Is told of each recorded episode that cannot be read; None to refuse it.

    Raises:
        UserError: if a folder is neither, or has no sample; names it.
    """
    sources: list[SampleSource] = []
    for folder in folders:
        if is_dataset(folder):
            sources.append(LeRobotSamples(folder, asked))
        elif folder.is_dir():
            sources.append(RecordedSamples([folder], asked, cache=cache, on_skip=on_skip))
        else:
            raise UserError(f"{folder}: no such folder; expected recordings, or a LeRobotDataset")
    return JoinedSamples(sources)


def contracts_of(folder: Path) -> list[RobotContract]:
    """Return the contracts that a folder's episodes were recorded with; a dataset may tell none.

    Raises:
        UserError: if the folder is neither a recording nor a dataset.
    """
    if is_dataset(folder):
        contract = LeRobotReader(folder).contract
        return [] if contract is None else [contract]
    files = {each.joinpath(CONTRACT).read_bytes(): each for each in episode_folders(folder)}
    return [load_contract(each / CONTRACT) for each in files.values()]
