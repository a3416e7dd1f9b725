"""Lets a policy act in simulation, and keeps what its graphs are given: real observations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract.loading import load_contract
from vla_ros.core.types import Observation
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.engine.choice import EngineChoice
from vla_ros.engine.exporting.observations import RecordedInputs, Recording
from vla_ros.engine.grounding import INPUTS, Grounding
from vla_ros.engine.language import LanguageEncoder, LanguageTokens
from vla_ros.evaluation.episode import run_episode
from vla_ros.policy.bundle import GRAPH, GROUNDING
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import SKILLS, TEST_SEED, sample_scene

#: Seed of the first scene. No evaluation plays it, and training is most likely not to have.
FIRST_SEED = TEST_SEED - 1_000_000
#: Of so many observations one is kept: those beside each other are alike.
EVERY = 8
#: Of so many that are kept, one is grounded with a prompt.
PROMPTED_EVERY = 3


def record_inputs(
    bundle: Path,
    *,
    episodes: int,
    every: int = EVERY,
    threads: int = 1,
    on_episode: Callable[[int], None] = lambda done: None,
) -> RecordedInputs:
    """Play episodes of training's kind, and return what both graphs were given in them.

    Args:
        bundle: Directory of the policy.
        episodes: How many; the skills take turns.
        every: Of so many observations one is kept.
        threads: CPU threads of one inference.
        on_episode: Called with how many are done.

    Raises:
        BundleError: if the bundle cannot be used.
        ContractError: if it was trained for another robot than the simulated one.
    """
    policy = BundlePolicy(bundle, load_contract("tabletop_sim"), EngineChoice(threads=threads))
    with closing(policy), closing(Environment()) as environment:
        listener = _Listener(policy, LanguageEncoder(bundle), every)
        for index in range(episodes):
            seed, skill = FIRST_SEED + index, SKILLS[index % len(SKILLS)]
            scene = sample_scene(seed=seed, skill=skill)
            listener.instruct(scene.text)
            run_episode(environment, policy, scene, linger_s=0.5, on_step=listener)
            on_episode(index + 1)
    return listener.recording.finish(
        {
            "bundle": policy.name,
            "bundle_sha256": policy.bundle_sha256,
            "seeds": [FIRST_SEED, FIRST_SEED + episodes - 1],
            "episodes": episodes,
            "every": every,
        }
    )


class _Listener:
    """Keeps the inputs of some of the observations that a policy is given."""

    def __init__(self, policy: BundlePolicy, language: LanguageEncoder, every: int) -> None:
        self.recording = Recording()
        self._policy, self._language, self._every = policy, language, every
        acting, grounding = (engine.inputs for engine in policy.engines())
        self._acting = [spec.name for spec in acting]
        self._grounding = [spec.name for spec in grounding]
        shown = next(spec for spec in grounding if spec.name == "shown")
        self._shown = (1, *(int(length) for length in shown.shape[1:]))
        self._tokens: LanguageTokens | None = None
        self._seen = self._kept = 0

    def instruct(self, text: str) -> None:
        """Take note of what the policy is told."""
        self._tokens = self._language.encode(text)

    def __call__(self, observation: Observation, progress: float) -> None:
        """Keep the inputs of an observation, if it is its turn."""
        del observation, progress
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        inputs, found = self._policy.inputs, self._policy.grounding
        assert self._tokens is not None
        assert found is not None
        self.recording.add(GRAPH, inputs, self._acting)
        told = {
            "language": self._tokens.features[None],
            "language_mask": self._tokens.mask[None].astype(np.float32),
        }
        looked = {name: inputs[name] for name in INPUTS}
        self.recording.add(GROUNDING, looked | told | self._prompt(found), self._grounding)
        self._kept += 1

    def _prompt(self, found: Grounding) -> dict[str, NDArray[np.generic]]:
        """Return a prompt now and then: what is pointed at, as if it had been demonstrated."""
        shown, mask = np.zeros(self._shown, np.float32), np.zeros(self._shown[:2], np.float32)
        if self._kept % PROMPTED_EVERY == 1:
            shown[0, 0], mask[0, 0] = found.embedding[found.pointers[0, :-1].argmax()], 1.0
        return {"shown": shown, "shown_mask": mask}
