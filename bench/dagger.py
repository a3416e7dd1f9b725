"""What an intervention is worth: 20 more episodes of it, against 20 more plain demonstrations.

python bench/dagger.py [--work DIR] [--json PATH] [--check]

For each training seed a policy learns to lift the named thing from N plain demonstrations. Then 20
episodes are added: in one arm plain demonstrations of new scenes; in the other the policy drives
in the same 20 scenes while an operator watches, takes the arm when it goes wrong and gives it back
(HG-DAgger, Kelly et al. 2019); what the operator did then is what is added. Both arms train anew
for as many steps, and act in the same held-out scenes, from rendered images.

The operator is the scripted expert with the rule of `vla_ros.learning.intervention`, the same that
makes the demonstrations. Eyes and words of every policy are those of the shipped bundle, and stay
as they are; what decides how to move begins anew, in one layer, and learns on imagined sightings.

The interval is that of the difference, intervention less plain: 95 %, by bootstrap over training
seeds and scenes, both drawn anew each time. `student` looks at the seeds alone.

What is done is kept in --work; a run that was stopped goes on there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from vla_ros.cli.measurement import conclude
from vla_ros.contract import load_contract
from vla_ros.core.resources import resource_path
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.evaluation.episode import run_episode
from vla_ros.learning.actors import Actor
from vla_ros.learning.checkpoints import policy_from_checkpoint
from vla_ros.learning.dagger import BundleDriver
from vla_ros.learning.experts import Expert
from vla_ros.learning.intervention import Operator, SupervisedDriver
from vla_ros.learning.recipes import tabletop_small
from vla_ros.learning.rollouts import Record
from vla_ros.learning.rollouts import run_episode as record_episode
from vla_ros.learning.shards import save_shard, shard_path
from vla_ros.learning.training import Trainer
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.export import save_pretrained
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import TEST_SEED, sample_scene

COMMAND = "bench/dagger.py"
SKILL = "lift"
SHIPPED = "models/tabletop-small"
#: Arms by what they add to the first demonstrations.
ARMS = ("none", "plain", "intervention")
#: Of no other training data; each training seed has its own scenes.
FIRST_SEED, SEEDS_APART = 920_000_000, 10_000
#: Of held-out scenes that no suite plays.
FIRST_TEST_SEED = TEST_SEED + 50_000_000
LIMIT_S = 6.0  # experts lift in 2
FROZEN = ("vision", "regions", "language", "grounder")
LEARNED = ("fusion", "head", "place_embed", "state_embed", "imu_embed")
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is compared.

    Attributes:
        demonstrations: That every arm has.
        added: Episodes that two arms add.
        steps: Of training, of each arm.
        weight: Of what the operator did, against 1 of plain demonstrations.
        episodes: Held-out scenes that every policy acts in.
    """

    demonstrations: int
    added: int
    steps: int
    weight: float
    episodes: int


def main() -> int:
    """Play, train, compare, print, write, check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--demonstrations", type=int, default=60, help="that the first policy learns from")
    add("--added", type=int, default=20, help="episodes that are added to them")
    add("--steps", type=int, default=800, help="of training")
    add("--weight", type=float, default=1.0, help="of what the operator did")
    add("--episodes", type=int, default=100, help="held-out scenes")
    add("--seeds", type=int, default=5, help="of training, 2 or more")
    add("--first-seed", type=int, default=0, help="of training")
    add("--work", type=Path, help="folder to keep what is done in; a passing one if not given")
    add("--json", type=Path, help="write the results here")
    add("--check", action="store_true", help="exit 1 if a must falls short")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds: a single seed tells nothing of the noise; give 2 or more")
    names = ("demonstrations", "added", "steps", "weight", "episodes")
    setting = Setting(**{name: getattr(arguments, name) for name in names})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as passing:
        work = arguments.work or Path(passing)
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        trials = [Trial(work / f"seed{seed}", seed, setting).run() for seed in seeds]
    results = {**compare(trials), **{name: getattr(arguments, name) for name in names}}
    return conclude(
        COMMAND,
        results,
        json_path=arguments.json,
        check=arguments.check,
        table=_table(results),
    )


class Trial:
    """All arms with one training seed; every step is done once, and kept in a folder."""

    def __init__(self, folder: Path, seed: int, setting: Setting) -> None:
        """Prepare the trial of a seed."""
        self._folder, self._seed, self._setting = folder, seed, setting
        self._scenes = FIRST_SEED + seed * SEEDS_APART
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "setting.json"
        described = json.dumps({"seed": seed, "setting": repr(setting)})
        if kept.exists() and kept.read_text() != described:
            sys.exit(f"{folder}: holds what another setting made; give another --work")
        kept.write_text(described)

    def run(self) -> dict[str, Any]:
        """Return, by arm, which scenes succeeded, and how the interventions went."""
        first = self._demonstrate("first", 0, self._setting.demonstrations)
        outcomes = {"none": self._play(self._train("none", first))}
        added = self._setting.added
        plain = self._demonstrate("plain", self._setting.demonstrations, added)
        outcomes["plain"] = self._play(self._train("plain", first, plain))
        watched = self._intervene("watched", self._setting.demonstrations, added)
        outcomes["intervention"] = self._play(self._train("intervention", first, watched))
        shares = {arm: float(np.mean(found)) for arm, found in outcomes.items()}
        self._say(", ".join(f"{arm} {share:.0%}" for arm, share in shares.items()))
        facts = json.loads((watched / "facts.json").read_text())
        return {"seed": self._seed, "outcomes": outcomes, "success": shares, "watched": facts}

    def _demonstrate(self, name: str, first: int, count: int) -> Path:
        """Let the expert show `count` scenes from the `first` on; return the shard's folder."""
        folder = self._folder / name
        if folder.exists():
            return folder
        environment, expert = Environment(cameras=()), Expert()
        records = [
            record_episode(
                environment,
                sample_scene(seed=seed, skill=SKILL),
                expert,
                lambda table, chunk: chunk,
                rng=np.random.default_rng((seed, 11)),
                image_probability=0.0,
            )
            for seed in self._seeds(first, count)
        ]
        environment.close()
        self._say(f"{name}: {sum(record.success for record in records)} of {count} succeeded")
        return _keep(folder, records, {"states": sum(len(r.states["state"]) for r in records)})

    def _intervene(self, name: str, first: int, count: int) -> Path:
        """Let the first policy drive and the expert watch; return the shard's folder."""
        folder = self._folder / name
        if folder.exists():
            return folder
        environment, expert = Environment(cameras=()), Expert()
        policy = BundlePolicy(self._folder / "none-bundle")
        records, reasons = [], Counter[str]()
        for seed in self._seeds(first, count):
            scene, rng = sample_scene(seed=seed, skill=SKILL), np.random.default_rng((seed, 11))
            policy.start(scene.text)
            operator = Operator()
            driver = SupervisedDriver(BundleDriver(policy, rng, 0.0), operator)
            record = record_episode(
                environment, scene, expert, driver, rng=rng, image_probability=0.0
            )
            driver.mark(record)
            records.append(record)
            reasons.update(operator.reasons)
        environment.close()
        policy.close()
        acted = np.concatenate([np.array(record.states["actor"]) for record in records])
        facts = {
            "succeeded": sum(record.success for record in records),
            "states": len(acted),
            "operator_states": int((acted == Actor.OPERATOR).sum()),
            "taken": dict(reasons),
        }
        self._say(f"{name}: {facts}")
        return _keep(folder, records, facts)

    def _train(self, name: str, *data: Path) -> Path:
        """Return the bundle of a policy that learned from the folders."""
        bundle = self._folder / f"{name}-bundle"
        if (bundle / "bundle.json").exists():
            return bundle
        shipped, output = resource_path(SHIPPED), self._folder / f"{name}-run"
        sentences = self._folder / "sentences.npz"  # the same for all: embedded once
        output.mkdir(exist_ok=True)
        if sentences.exists():
            shutil.copyfile(sentences, output / sentences.name)
        config = TrainingConfig(
            data=data,
            output=output,
            language=shipped,
            steps=self._setting.steps,
            images=0,
            episodes=8,
            states_per_episode=8,
            sentences=400,
            average=0.99,
            checkpoint_every=self._setting.steps,
            device="cpu",
            threads=1,
            start=shipped,
            start_partly=True,
            freeze=FROZEN,
            anew=LEARNED,
            seed=self._seed,
            intervention_weight=self._setting.weight,
        )
        trainer = Trainer(config, replace(tabletop_small(), layers=1, feedforward=256))
        shutil.copyfile(output / sentences.name, sentences)
        for losses in trainer.run():
            last = losses
        self._say(f"{name}: trained, action loss {last['state_action']:.3f}")
        save_pretrained(
            policy_from_checkpoint(trainer.checkpoint_path),
            bundle,
            name=name,
            contract=load_contract(config.contract).to_dict(),
            training={},
            language=shipped,
        )
        return bundle

    def _play(self, bundle: Path) -> list[bool]:
        """Return in which held-out scenes a policy succeeded."""
        kept = bundle.with_suffix(".json")
        if kept.exists():
            found: list[bool] = json.loads(kept.read_text())
            return found
        environment, policy = Environment(), BundlePolicy(bundle)
        found = [
            run_episode(
                environment,
                policy,
                sample_scene(seed=FIRST_TEST_SEED + index, split="seeds", skill=SKILL),
                limit_s=LIMIT_S,
                linger_s=0.0,
            ).success
            for index in range(self._setting.episodes)
        ]
        environment.close()
        policy.close()
        kept.write_text(json.dumps(found))
        return found

    def _seeds(self, first: int, count: int) -> range:
        return range(self._scenes + first, self._scenes + first + count)

    def _say(self, text: str) -> None:
        Console(stderr=True, highlight=False).print(f"seed {self._seed}: {text}", markup=False)


def _keep(folder: Path, records: Sequence[Record], facts: dict[str, Any]) -> Path:
    """Write a shard into a folder of its own, which is there when it is whole."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_shard(shard_path(partial, 0), records)
    (partial / "facts.json").write_text(json.dumps(facts))
    partial.rename(folder)
    return folder


def compare(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return success by arm, and what interventions gain over plain demonstrations."""
    outcomes = {arm: np.array([trial["outcomes"][arm] for trial in trials], float) for arm in ARMS}
    apart = outcomes["intervention"] - outcomes["plain"]  # (seeds, scenes)
    low, high = _bootstrap(apart)
    by_seed = apart.mean(1)
    margin = student.ppf(0.975, len(by_seed) - 1) * by_seed.std(ddof=1) / np.sqrt(len(by_seed))
    return {
        "success": {arm: float(found.mean()) for arm, found in outcomes.items()},
        "gain": float(apart.mean()),
        "gain_low": low,
        "gain_high": high,
        "student": {
            "gain_low": float(by_seed.mean() - margin),
            "gain_high": float(by_seed.mean() + margin),
        },
        "seeds": len(trials),
        "by_seed": [
            {key: trial[key] for key in ("seed", "success", "watched")} for trial in trials
        ],
    }


def _bootstrap(apart: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean over seeds and scenes (S, E), both drawn anew."""
    rng = np.random.default_rng(0)
    seeds, scenes = apart.shape
    means = [
        apart[rng.integers(seeds, size=seeds)][:, rng.integers(scenes, size=scenes)].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _table(results: dict[str, Any]) -> Table:
    table = Table(
        *("seed", "without", "+ plain", "+ interventions", "operator had the arm"),
        title=f"{COMMAND}: % of held-out scenes",
        title_justify="left",
        caption=f"interventions gain {100 * results['gain']:+.1f} points over plain "
        f"demonstrations, {100 * results['gain_low']:+.1f} to {100 * results['gain_high']:+.1f}",
        caption_justify="left",
    )
    for row in (*results["by_seed"], {"seed": "all", "success": results["success"]}):
        shown = [f"{100 * row['success'][arm]:.0f}" for arm in ARMS]
        watched = row.get("watched")
        share = f"{watched['operator_states']} of {watched['states']} steps" if watched else ""
        table.add_row(str(row["seed"]), *shown, share)
    return table


if __name__ == "__main__":
    sys.exit(main())
