"""Collect demonstrations in parallel into shards that a later run can resume from or add to."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator

from vla_ros.core.errors import InstructionRejected, UserError
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.language import LanguageEncoder
from vla_ros.learning.checkpoints import policy_from_checkpoint, require_language
from vla_ros.learning.dagger import BundleDriver, ImaginingDriver
from vla_ros.learning.experts import HORIZON, Expert
from vla_ros.learning.intervention import Operator, SupervisedDriver, mark_actors
from vla_ros.learning.provenance import differences, language_sha256, policy_sha256
from vla_ros.learning.rollouts import Disturbance, Driver, Record, run_episode
from vla_ros.learning.shards import missing_seeds, save_shard, shard_path, shard_paths
from vla_ros.learning.stills import take_stills
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import TEST_SEED, Scene, sample_scene

#: What a folder's shards were collected with, beside them.
SETTINGS = "collection.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionConfig:
    """What to collect: `episodes` scenes from `first_seed` on, into `directory`.

    Attributes:
        directory: Where the shards go.
        episodes: How many scenes.
        first_seed: Seed of the first scene; all stay below the test splits' seeds.
        image_probability: Share of the 20 Hz states that are rendered.
        disturbance: How hard the experts are disturbed; 1 is about one push each 0.8 s.
        policy: What drives instead of the expert (DAgger): a bundle, from rendered images, or a
            training checkpoint, from imagined sightings; None for experts.
        language: Directory of the language encoder; needed with a checkpoint.
        expert_share: Share of the steps that the expert takes over from the policy.
        stills: Instead of episodes, this many rendered states per scene at random poses.
        lag_s: Longest time in [s] from an observation to when the gate has the chunk made of it,
            as inference and transport take on a robot; drawn for each episode, from 0.
        one_at_a_time: Whether the next chunk is begun only when the one before has come.
        watched: Whether the expert watches the policy, as an operator would, and only takes the
            arm when it goes wrong; only what it does then is imitated (HG-DAgger).
    """

    directory: Path
    episodes: int
    first_seed: int = 0
    image_probability: float = 0.3
    disturbance: float = 1.0
    policy: Path | None = None
    language: Path | None = None
    expert_share: float = 0.2
    stills: int = 0
    lag_s: float = 0.0
    one_at_a_time: bool = False
    watched: bool = False

    def __post_init__(self) -> None:
        if self.first_seed < 0 or self.first_seed + self.episodes > TEST_SEED:
            raise ValueError(
                f"seeds {self.first_seed} to {self.first_seed + self.episodes} must lie in "
                f"0 to {TEST_SEED}; the seeds above belong to the test splits"
            )

    @property
    def seeds(self) -> range:
        """Seeds of the scenes."""
        return range(self.first_seed, self.first_seed + self.episodes)

    def settings(self) -> dict[str, object]:
        """Return what all shards of a folder have in common, under the options' names.

        Raises:
            UserError: if the policy cannot be read, or was trained with another encoder.
        """
        if self.policy is not None and self.language is not None:
            require_language(self.policy, self.language)
        return {
            "image-share": self.image_probability,
            "disturbance": self.disturbance,
            "expert-share": self.expert_share,
            "stills": self.stills,
            "lag": self.lag_s,
            "rows": HORIZON,
            "one-at-a-time": self.one_at_a_time,
            "interventions": self.watched,
            "policy": None if self.policy is None else policy_sha256(self.policy),
            **({} if self.language is None else language_sha256(self.language)),
        }


def collect(config: CollectionConfig, workers: int = 2) -> Iterator[tuple[int, int]]:
    """Write the missing shards; yield (episodes, successes) of each as it is finished.

    Raises:
        UserError: if the folder was collected with other settings; names them.
    """
    jobs = [(config, seeds) for seeds in _missing(config)]
    _write_settings(config)
    if workers <= 1:
        yield from map(_collect_shard, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_collect_shard, jobs)


def missing_episodes(config: CollectionConfig) -> int:
    """Return how many episodes `collect` would still play.

    Raises:
        UserError: if the folder was collected with other settings; names them.
    """
    return sum(len(seeds) for seeds in _missing(config))


def _missing(config: CollectionConfig) -> list[range]:
    """Return the seeds of each shard that is not there yet, if the folder may be added to."""
    kept, settings = config.directory / SETTINGS, config.settings()
    if kept.exists():
        different = differences(_read_settings(kept), settings)
        if different:
            raise UserError(
                f"{config.directory}: was collected with other settings: {'; '.join(different)}. "
                "Give the same ones, or another --output"
            )
    elif shard_paths(config.directory):
        raise UserError(
            f"{config.directory}: holds shards but no {SETTINGS}, so nothing tells what they "
            "were collected with; they can be trained on, but give another --output for more"
        )
    return missing_seeds(config.directory, config.seeds)


def _read_settings(path: Path) -> dict[str, object]:
    try:
        settings = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no JSON: {error}; give another --output") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path}: holds no settings; give another --output")
    return settings


def _write_settings(config: CollectionConfig) -> None:
    path = config.directory / SETTINGS
    if path.exists():
        return
    text = json.dumps(config.settings(), indent=1)
    config.directory.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text + "\n")
    partial.rename(path)


def _collect_shard(job: tuple[CollectionConfig, range]) -> tuple[int, int]:
    config, seeds = job
    environment, expert, drivers = Environment(cameras=()), Expert(), _Drivers(config)
    records = [_play(config, seed, environment, expert, drivers) for seed in seeds]
    environment.close()
    save_shard(shard_path(config.directory, seeds.start), records)
    return len(records), sum(record.success for record in records)


def _play(
    config: CollectionConfig,
    seed: int,
    environment: Environment,
    expert: Expert,
    drivers: _Drivers,
) -> Record:
    """Play one scene; every draw hangs on its seed alone, not on shards or workers."""
    scene, rng = sample_scene(seed=seed), np.random.default_rng((seed, 11))
    if config.stills:
        return take_stills(environment, scene, rng, config.stills)
    with torch.random.fork_rng(devices=()):  # imagined sightings are drawn by torch
        torch.manual_seed(seed)
        driver = drivers(scene, rng)
        record = run_episode(
            environment,
            scene,
            expert,
            driver,
            rng=rng,
            image_probability=config.image_probability,
            lag_s=config.lag_s * np.random.default_rng((seed, 12)).random(),
            one_at_a_time=config.one_at_a_time,
        )
    if config.watched:
        mark_actors(record, driver)
    return record


class _Drivers:
    """Makes a driver per episode; what is loaded is loaded once per worker's shard."""

    def __init__(self, config: CollectionConfig) -> None:
        self._config = config
        self._share = 0.0 if config.watched else config.expert_share
        self._make: Callable[[Scene, Generator], Driver] = self._disturbed
        if config.policy is not None:
            torch.set_num_threads(1)
            imagining = config.policy.suffix == ".pt"
            self._make = self._imagining() if imagining else self._rendering()

    def __call__(self, scene: Scene, rng: Generator) -> Driver:
        try:
            driver = self._make(scene, rng)
            return SupervisedDriver(driver, Operator()) if self._config.watched else driver
        except InstructionRejected:  # longer than the policy reads: the expert plays it
            return self._disturbed(scene, rng)

    def _disturbed(self, scene: Scene, rng: Generator) -> Driver:
        del scene
        calm = rng.random() < 0.3
        return Disturbance(rng, 0.0 if calm else self._config.disturbance)

    def _rendering(self) -> Callable[[Scene, Generator], Driver]:
        assert self._config.policy is not None
        policy = BundlePolicy(self._config.policy)

        def make(scene: Scene, rng: Generator) -> Driver:
            policy.start(scene.text)
            return BundleDriver(policy, rng, self._share)

        return make

    def _imagining(self) -> Callable[[Scene, Generator], Driver]:
        assert self._config.policy is not None
        assert self._config.language is not None
        policy = policy_from_checkpoint(self._config.policy)
        language = LanguageEncoder(self._config.language)

        def make(scene: Scene, rng: Generator) -> Driver:
            tokens = language.encode(scene.text)
            with torch.no_grad():
                slots = policy.language(
                    torch.from_numpy(tokens.features.copy())[None],
                    torch.from_numpy(tokens.mask.copy())[None].float(),
                )
            return ImaginingDriver(policy, slots, rng, self._share)

        return make
