"""The statistics that a policy normalizes with, measured on demonstrations."""

from __future__ import annotations

import numpy as np
import torch

from vla_ros.learning.actors import Actor
from vla_ros.learning.dataset import Demonstrations
from vla_ros.policy.model import Policy

ORDINARY = (0.5, 99.5)  # percentiles between which a command's lead is no outlier


def set_statistics(policy: Policy, data: Demonstrations) -> None:
    """Take the statistics from the states that are imitated; there must be one."""
    imitated = data.meta["imitate"][data.states["episode"]]
    imitated = imitated & (data.states["actor"] != Actor.POLICY)
    states = {
        key: data.states[key][imitated] for key in ("state", "velocity", "command", "imu", "chunk")
    }
    lead = states["command"] - states["state"]
    lead = np.clip(lead, *np.percentile(lead, ORDINARY, axis=0))  # an arm that is blocked
    joint = np.concatenate([states["state"], states["velocity"], lead], 1)
    imu = states["imu"][:: max(1, len(joint) // 20000)].reshape(-1, 6)
    chunk, command = (np.asarray(states[key], np.float32) for key in ("chunk", "command"))
    moves = chunk - command[:, None, :]
    for buffer, values in (
        (policy.state_mean, joint.mean(0)),
        (policy.state_std, joint.std(0) + 1e-3),
        (policy.imu_mean, imu.mean(0)),
        (policy.imu_std, imu.std(0) + 1e-3),
        (policy.head.scale, moves.std(0) + 1e-3),
    ):
        buffer.copy_(torch.from_numpy(np.asarray(values, np.float32)))
