"""How much each sense, the memory and the words decide a chunk: what changes without them.

Attribution by occlusion (Zeiler and Fergus 2014): take a source away, infer again, see how far
the chunk moves. Where two sources tell the same, as two cameras that see one thing, taking either
away changes little; Shapley values (Lundberg and Lee 2017) take them away in every combination
and divide what is lost between them. Both are for people who ask, after the chunk was sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.errors import UserError
from vla_ros.core.types import FloatArray
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.policy.configuration import MODALITIES

#: Senses that the network masks, and the entries of its mask that go with each.
SENSES = {
    "front": ("front", "depth_front"),
    "wrist": ("wrist", "depth_wrist"),
    "depth": ("depth_front", "depth_wrist"),
    "imu": ("imu",),
}
#: Everything that is taken away. `memory` is where object and target stood when the instruction
#: came, `language` what the instruction means: they are replaced, as the network masks neither.
SOURCES = (*SENSES, "memory", "language")
#: What Shapley values divide a change between.
COMBINED = (*SENSES, "memory")

#: The chunk (H, n) that is inferred when only some sources are there.
Infer = Callable[[frozenset[str]], FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """What each source decides of one chunk.

    Attributes:
        change_rad: By source, how far the chunk is from the one without it: mean over its rows
            and joints [rad]. A Shapley value may be below 0: there the source kept it back.
    """

    change_rad: Mapping[str, float]

    @property
    def shares(self) -> dict[str, float]:
        """Each change as a part of all, 0 to 1; all 0 if nothing changes anything."""
        positive = {name: max(0.0, value) for name, value in self.change_rad.items()}
        total = sum(positive.values())
        return {name: value / total if total > 0 else 0.0 for name, value in positive.items()}


def leave_one_out(infer: Infer) -> Contributions:
    """Take each source away by itself."""
    everything = frozenset(SOURCES)
    whole = infer(everything)
    return Contributions(
        change_rad={name: _apart(whole, infer(everything - {name})) for name in SOURCES}
    )


def shapley(infer: Infer) -> Contributions:
    """Take senses and memory away in all combinations, language by itself.

    The values of senses and memory add up to how far the chunk is from the one without any of
    them. Language stays out of the combinations: whoever is told something else and sees well
    does something else well, and every sense would count as holding the chunk back.
    """
    everything = frozenset(SOURCES)
    whole, n = infer(everything), len(COMBINED)
    lost = {
        frozenset(gone): _apart(whole, infer(everything - set(gone)))
        for size in range(n + 1)
        for gone in combinations(COMBINED, size)
    }
    values = dict.fromkeys(COMBINED, 0.0)
    for gone, without in lost.items():
        for name in gone:  # what is lost with it gone, less what was lost before that
            weight = math.factorial(len(gone) - 1) * math.factorial(n - len(gone))
            values[name] += weight / math.factorial(n) * (without - lost[gone - {name}])
    language = _apart(whole, infer(everything - {"language"}))
    return Contributions(change_rad=values | {"language": language})


METHODS: dict[str, Callable[[Infer], Contributions]] = {
    "leave_one_out": leave_one_out,
    "shapley": shapley,
}


def measure_contributions(
    policy: BundlePolicy, others: Sequence[str], method: str = "leave_one_out"
) -> Contributions:
    """Return what each source decides of the chunk that a policy inferred last.

    Senses are masked, as the network was trained for. Memory is made empty, as before the first
    look. For language, the chunk is averaged over what else could be said, in the same image.

    Args:
        policy: What it infers next does not change.
        others: Other instructions that make sense in front of the robot.
        method: One of `METHODS`; `leave_one_out` infers 6 times, `shapley` 33 times, and both
            once for each of the others.

    Raises:
        UserError: if there is no such method, or no other instruction.
        RuntimeError: if nothing was inferred yet.
    """
    if method not in METHODS:
        raise UserError(f"method {method!r} does not exist; choose {' or '.join(METHODS)}")
    if not policy.inputs:
        raise RuntimeError("nothing was inferred yet that could be explained")
    if not others:
        raise UserError("no other instructions to compare with; give one at least")
    return METHODS[method](_inference(policy, others))


def _inference(policy: BundlePolicy, others: Sequence[str]) -> Infer:
    """Return what infers again from a policy's last inputs, with only some sources."""
    inputs = policy.inputs
    meant = [policy.ground(text) for text in others]

    def infer(kept: frozenset[str]) -> FloatArray:
        present = inputs["present"].copy()
        for sense in set(SENSES) - kept:
            present[0, [MODALITIES.index(name) for name in SENSES[sense]]] = 0.0
        changed: dict[str, NDArray[np.generic]] = {**inputs, "present": present}
        if "memory" not in kept:
            changed["anchor"] = np.zeros_like(inputs["anchor"])
        if "language" in kept:
            return policy.reconsider(changed)
        words = [{"slots": other.slots, "queries": other.queries} for other in meant]
        return np.asarray(np.mean([policy.reconsider(changed | said) for said in words], axis=0))

    return infer


def _apart(one: FloatArray, other: FloatArray) -> float:
    return float(np.abs(one - other).mean())
