"""Samples of recorded episodes, read from their MCAP files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.contract import ACTION, DEPTHS, IMAGES, IMU, STATE, RobotContract, load_contract
from vla_ros.core.conventions import IMU_WINDOW
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.data.episode import CONTRACT, episode_folders, message_files
from vla_ros.data.episode_index import decode
from vla_ros.data.loading.episode_samples import EpisodeSamples, samples_of
from vla_ros.data.loading.positions import MessageReader
from vla_ros.data.loading.sample import (
    ACTOR,
    COMMAND,
    EPISODE,
    FRAME,
    PADDED,
    STAMP,
    TASK,
    WEIGHT,
    Array,
    Asked,
    Feature,
    Joints,
    Sample,
    sample_weights,
)
from vla_ros.data.message_file import RecordedMessage
from vla_ros.observation.intake import make_reader

#: Is told of an episode that is left out, and why.
OnSkip = Callable[[Path, str], None]


class RecordedSamples:
    """The samples of recordings: a folder of an episode, or of many, or several of those.

    Attributes:
        folders: Of the episodes that have samples.
    """

    def __init__(
        self,
        recordings: Sequence[Path],
        asked: Asked | None = None,
        *,
        cache: Path | None = None,
        on_skip: OnSkip | None = None,
    ) -> None:
        """Index the episodes; of those that were indexed before, read what is in `cache`.

        Args:
            recordings: Folders.
            asked: What every sample has.
            cache: Folder that keeps what is known of the episodes.
            on_skip: Is told of each episode that cannot be read; None to refuse it.

        Raises:
            UserError: if there is no sample at all, or an episode cannot be read; names it.
        """
        self._asked = asked or Asked()
        self.folders: list[Path] = []
        self._episodes: list[EpisodeSamples] = []
        self._contracts: dict[bytes, RobotContract] = {}
        self._contract_of: list[RobotContract] = []
        for recording in recordings:
            for folder in episode_folders(recording):
                self._add(folder, cache, on_skip)
        if not self._episodes:
            raise UserError(
                f"{', '.join(map(str, recordings))}: no episode has a frame that a policy could "
                "have been given; `vla_ros data check` says what is wrong"
            )
        self._weights = [
            sample_weights(each.actor, self._asked.intervention_weight) for each in self._episodes
        ]
        self._features: dict[str, Feature] = {}
        for contract in self._contracts.values():
            self._features |= _features(contract, self._asked)
        self._readers: dict[tuple[int, int], MessageReader] = {}
        self._decoders: dict[tuple[int, str], Callable[[bytes], Array]] = {}

    @property
    def lengths(self) -> list[int]:
        """Samples of each episode."""
        return [len(each) for each in self._episodes]

    @property
    def features(self) -> dict[str, Feature]:
        """What of an observation is asked for, and may be missing in a sample."""
        return self._features

    @property
    def weights(self) -> list[Array]:
        """What each sample of each episode counts, (N,) each."""
        return self._weights

    def contract(self, episode: int) -> RobotContract:
        """Return the contract that an episode was recorded with."""
        return self._contract_of[episode]

    def joints(self, episode: int) -> Joints:
        """Return where the joints were in all frames of an episode, and where they were sent."""
        known = self._episodes[episode]
        return Joints(stamps=known.stamps, state=known.state, command=known.command)

    def tasks(self, episode: int) -> list[str]:
        """Return the instruction of each sample of an episode."""
        known = self._episodes[episode]
        return [known.tasks[int(number)] for number in known.task]

    def known(self, episode: int) -> EpisodeSamples:
        """Return everything of an episode's samples but pixels."""
        return self._episodes[episode]

    def read(self, episode: int, first: int, stop: int) -> list[Sample]:
        """Return the samples of some frames of an episode that follow one another.

        Raises:
            UserError: if a file has changed since it was indexed.
        """
        known, asked = self._episodes[episode], self._asked
        frames = slice(first, stop)
        step_s = asked.step_s or self._period_s(episode)
        chunks, padded = known.chunks(frames, asked.horizon, step_s)
        samples = []
        for at in range(first, stop):
            sample: Sample = {
                STATE: known.state[at],
                COMMAND: known.command[at],
                ACTION: chunks[at - first],
                PADDED: padded[at - first],
                TASK: known.tasks[int(known.task[at])],
                ACTOR: np.int64(known.actor[at]),
                WEIGHT: self._weights[episode][at],
                STAMP: np.int64(known.stamps[at]),
                EPISODE: np.int64(episode),
                FRAME: np.int64(at),
            }
            if IMU in self._features and not np.isnan(known.imu[at]).all():
                sample[IMU] = known.imu[at]
            for column, feature in enumerate(known.cameras):
                number = int(known.message[at, column])
                if number >= 0 and asked.wants(feature):
                    sample[feature] = self._pixels(episode, feature, number)
            samples.append(sample)
        return samples

    def _add(self, folder: Path, cache: Path | None, on_skip: OnSkip | None) -> None:
        try:
            found = samples_of(folder, cache)
        except UserError as error:
            if on_skip is None:
                raise
            on_skip(folder, str(error))
            return
        if not len(found):
            reason = f"{folder}: has no frame that a policy could have been given: {found.why}"
            if on_skip is None:
                raise UserError(reason)
            on_skip(folder, reason)
            return
        text = (folder / CONTRACT).read_bytes()
        if text not in self._contracts:
            self._contracts[text] = load_contract(folder / CONTRACT)
        self.folders.append(folder)
        self._episodes.append(found)
        self._contract_of.append(self._contracts[text])

    def _period_s(self, episode: int) -> float:
        """Return the time between two frames of the reference camera [s]."""
        contract = self._contract_of[episode]
        first = next(each for each in contract.observations if each.feature.startswith(IMAGES))
        return round(1e9 / first.rate_hz) * 1e-9

    def _pixels(self, episode: int, feature: str, number: int) -> Array:
        """Return the image or depth of a message, as the policy node reads it."""
        file, chunk, offset, length = self._episodes[episode].places[number].tolist()
        data = self._reader(episode, file).read(chunk, offset, length)
        try:
            return self._decoder(episode, feature)(data)
        except ObservationError as error:  # it was good when it was indexed
            raise UserError(
                f"{self.folders[episode]}: has changed: {error}; load it anew"
            ) from None

    def _reader(self, episode: int, file: int) -> MessageReader:
        key = (episode, file)
        if key not in self._readers:
            while len(self._readers) >= 4:  # blocks are read one after another
                self._readers.pop(next(iter(self._readers)))
            path = message_files(self.folders[episode])[file]
            self._readers[key] = MessageReader(path)
        return self._readers[key]

    def _decoder(self, episode: int, feature: str) -> Callable[[bytes], Array]:
        contract = self._contract_of[episode]
        key = (id(contract), feature)
        if key not in self._decoders:
            item = contract.observation(feature)
            read = make_reader(item, contract.action.joints)

            def decoder(data: bytes) -> Array:
                message = RecordedMessage(item.topic, item.type, data, 0, 0, 0)
                return read(decode(message))

            self._decoders[key] = decoder
        return self._decoders[key]

    def __getstate__(self) -> Mapping[str, Any]:
        """Leave out what a worker process makes for itself."""
        return {**self.__dict__, "_readers": {}, "_decoders": {}}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take what `__getstate__` gave."""
        self.__dict__.update(state)


def _features(contract: RobotContract, asked: Asked) -> dict[str, Feature]:
    """Return what of a contract's observations is asked for, without the joint state."""
    found = {}
    for item in contract.observations:
        if item.feature == STATE or not asked.wants(item.feature):
            continue
        size = (item.height, item.width)
        if item.feature.startswith(IMAGES):
            found[item.feature] = Feature(shape=(*size, 3), dtype="uint8")
        elif item.feature.startswith(DEPTHS):
            found[item.feature] = Feature(shape=size, dtype="float32")
        else:
            found[item.feature] = Feature(shape=(IMU_WINDOW, 6), dtype="float32")
    return found
