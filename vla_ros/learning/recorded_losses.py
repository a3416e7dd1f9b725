"""How far a policy is from what was done in recorded episodes, seen and told as at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vla_ros.learning.clouds import CloudReader
from vla_ros.learning.grounding_losses import Terms
from vla_ros.policy.model import Inputs, Policy
from vla_ros.policy.places import merge_points

if TYPE_CHECKING:
    from vla_ros.learning.recorded import RecordedBatch, View


def recorded_terms(policy: Policy, batch: RecordedBatch, read_cloud: CloudReader) -> Terms:
    """Return the terms of a batch of recorded states.

    The words are grounded in what was seen when they were said, and where things stood then is
    remembered, as the running policy does both. How far the task has come is not recorded.
    """
    begun = batch.beginning
    with torch.no_grad():
        things = policy.scan(begun.rgb[0], begun.depth[0], begun.present)
    found = policy.ground(batch.words, batch.mask, things)
    with torch.no_grad():
        before = _inputs(begun, found.slots, found.queries, None)
        anchor = merge_points(policy.to_base(policy.look(before), before))
    inputs = _inputs(batch.now, found.slots, found.queries, anchor)
    inputs = inputs._replace(cloud=read_cloud(batch.now))
    points = policy.to_base(policy.look(inputs), inputs)
    context = policy.fuse(inputs, found.slots, points)
    unknown = torch.zeros_like(batch.weight)
    action, _ = policy.head.loss(*context, batch.chunk, unknown, batch.weight)
    return {"recorded_action": (action, 1.0)}


def _inputs(view: View, slots: Tensor, queries: Tensor, anchor: Tensor | None) -> Inputs:
    return Inputs(
        rgb=view.rgb,
        depth=view.depth,
        imu=view.imu,
        state=view.state,
        slots=slots,
        queries=queries,
        anchor=view.state.new_zeros(len(view.state), 2, 4) if anchor is None else anchor,
        present=view.present,
    )
