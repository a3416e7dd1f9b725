"""Collect demonstrations in parallel into shards that a later run can resume from or add to."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vla_ros.engine.language import LanguageEncoder
from vla_ros.engine.onnx_policy import OnnxPolicy
from vla_ros.learning.checkpoints import policy_from_checkpoint
from vla_ros.learning.dagger import BundleDriver, ImaginingDriver
from vla_ros.learning.experts import Expert
from vla_ros.learning.rollouts import Disturbance, Driver, Record, run_episode
from vla_ros.learning.stills import take_stills
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import TEST_SEED, Scene, sample_scene

SHARD_EPISODES = 25


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

    def __post_init__(self) -> None:
        if self.first_seed < 0 or self.first_seed + self.episodes > TEST_SEED:
            raise ValueError(
                f"seeds {self.first_seed} to {self.first_seed + self.episodes} must lie in "
                f"0 to {TEST_SEED}; the seeds above belong to the test splits"
            )


def collect(config: CollectionConfig, workers: int = 2) -> Iterator[tuple[int, int]]:
    """Write the missing shards; yield (episodes, successes) of each as it is finished."""
    config.directory.mkdir(parents=True, exist_ok=True)
    jobs = [(config, seed) for seed in _missing_shards(config)]
    if workers <= 1:
        yield from map(_collect_shard, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_collect_shard, jobs)


def missing_episodes(config: CollectionConfig) -> int:
    """Return how many episodes `collect` would still play."""
    end = config.first_seed + config.episodes
    return sum(min(SHARD_EPISODES, end - seed) for seed in _missing_shards(config))


def _missing_shards(config: CollectionConfig) -> list[int]:
    """First seeds of the shards that are not there yet."""
    seeds = range(config.first_seed, config.first_seed + config.episodes, SHARD_EPISODES)
    return [seed for seed in seeds if not shard_path(config.directory, seed).exists()]


def shard_path(directory: Path, seed: int) -> Path:
    """Path of the shard whose first scene has the seed."""
    return directory / f"shard-{seed:09d}.npz"


def _collect_shard(job: tuple[CollectionConfig, int]) -> tuple[int, int]:
    config, first = job
    environment, expert = Environment(cameras=()), Expert()
    rng = np.random.default_rng((first, 11))
    drivers = _Drivers(config, rng)
    records = []
    last = min(first + SHARD_EPISODES, config.first_seed + config.episodes)
    for seed in range(first, last):
        scene = sample_scene(seed=seed)
        if config.stills:
            records.append(take_stills(environment, scene, rng, config.stills))
            continue
        driver = drivers(scene)
        records.append(
            run_episode(
                environment,
                scene,
                expert,
                driver,
                rng=rng,
                image_probability=config.image_probability,
            )
        )
    environment.close()
    save_shard(shard_path(config.directory, first), records)
    return len(records), sum(record.success for record in records)


class _Drivers:
    """Makes a driver per episode; what is loaded is loaded once per worker's shard."""

    def __init__(self, config: CollectionConfig, rng: np.random.Generator) -> None:
        self._config, self._rng = config, rng
        self._make: Callable[[Scene], Driver] = self._disturbed
        if config.policy is not None:
            torch.set_num_threads(1)
            imagining = config.policy.suffix == ".pt"
            self._make = self._imagining() if imagining else self._rendering()

    def __call__(self, scene: Scene) -> Driver:
        return self._make(scene)

    def _disturbed(self, scene: Scene) -> Driver:
        calm = self._rng.random() < 0.3
        return Disturbance(self._rng, 0.0 if calm else self._config.disturbance)

    def _rendering(self) -> Callable[[Scene], Driver]:
        assert self._config.policy is not None
        policy = OnnxPolicy(self._config.policy)
        return lambda _: BundleDriver(policy, self._rng, self._config.expert_share)

    def _imagining(self) -> Callable[[Scene], Driver]:
        assert self._config.policy is not None
        assert self._config.language is not None
        policy = policy_from_checkpoint(self._config.policy)
        language = LanguageEncoder(self._config.language)

        def make(scene: Scene) -> Driver:
            tokens = language.encode(scene.text)
            with torch.no_grad():
                slots = policy.language(
                    torch.from_numpy(tokens.features.copy())[None],
                    torch.from_numpy(tokens.mask.copy())[None].float(),
                )
            return ImaginingDriver(policy, slots, self._rng, self._config.expert_share)

        return make


def save_shard(path: Path, records: Sequence[Record]) -> None:
    """Write records as one .npz, atomically; rows of all episodes are concatenated."""
    arrays: dict[str, NDArray[np.generic]] = {}
    lengths = np.array([len(record.states["state"]) for record in records])
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for key in records[0].meta:
        arrays[f"meta/{key}"] = np.stack([record.meta[key] for record in records])
    arrays["meta/success"] = np.array([record.success for record in records])
    arrays["meta/text"] = np.array([record.texts for record in records])
    arrays["states/episode"] = np.repeat(np.arange(len(records)), lengths).astype(np.int32)
    for key in records[0].states:
        arrays[f"states/{key}"] = np.concatenate([np.stack(r.states[key]) for r in records])
    with_images = [(r, o) for r, o in zip(records, offsets, strict=True) if r.images]
    for key in with_images[0][0].images if with_images else ():
        arrays[f"images/{key}"] = np.concatenate([np.stack(r.images[key]) for r, _ in with_images])
    if with_images:
        arrays["images/row"] = np.concatenate(
            [np.array(r.images["row"], np.int32) + offset for r, offset in with_images]
        )
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.rename(path)
