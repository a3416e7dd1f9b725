"""Who acted in each state of an episode, and what its samples weigh in training.

HG-DAgger (Kelly et al. 2019): a policy drives, an operator watches and takes the arm when it goes
wrong. What the operator then does is learned; what the policy did is not.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Actor(IntEnum):
    """Who moved the robot, as `states/actor` of a shard has it."""

    #: The operator, or an expert, throughout: an ordinary demonstration.
    DEMONSTRATOR = 0
    #: The policy, in an episode that an operator watched.
    POLICY = 1
    #: The operator, in an episode that a policy began.
    OPERATOR = 2


def actor_weights(actors: NDArray[np.generic], intervention_weight: float) -> NDArray[np.float32]:
    """Return what each state's chunk counts in imitation (N,).

    Args:
        actors: `Actor` of each state (N,).
        intervention_weight: Of what an operator did who took over from a policy, against 1 of
            ordinary demonstrations.
    """
    weights = np.zeros(len(Actor), np.float32)
    weights[Actor.DEMONSTRATOR] = 1.0
    weights[Actor.OPERATOR] = intervention_weight
    return np.asarray(weights[np.asarray(actors, np.int64)], np.float32)
