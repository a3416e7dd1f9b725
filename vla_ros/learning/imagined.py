"""Sightings imagined from the simulator's state, so that acting can be learned without rendering.

The control half of the policy reads points with confidences. Drawn from the truth with the errors
that the cameras make, they cost nothing: millions of states train it, and rendered images only
have to teach the eyes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vla_ros.policy.model import Policy
from vla_ros.policy.places import Points

FRONT_BIAS_M = 0.005  # common to everything the front camera sees in one state
FRONT_NOISE_M = 0.002
WRIST_NOISE = 0.015  # [m] per [m] of distance
ANCHOR_NOISE_M = 0.0035
CONFUSED, UNSURE = 0.05, 0.08  # shares of the sightings
OTHER_THING_M = 0.09  # how far away the other thing is
HIDDEN = 0.12  # share of the states in which no camera sees a thing: a full hand hides the bowl


def imagine_points(
    policy: Policy, state: Tensor, item: Tensor, target: Tensor, has_target: Tensor
) -> dict[str, Points]:
    """Return what the cameras would report.

    Args:
        policy: For its cameras and kinematics.
        state: (B, 3 n) joint positions, velocities, lead of the command.
        item: True position of the named object (B, 3) [m] in the base frame.
        target: Likewise of the target; anything where there is none.
        has_target: (B,) 1 where there is a target.
    """
    batch = state.shape[0]
    _, _, tcp = policy.kinematics(state[:, : policy.config.n_joints])
    truth = torch.stack([item, target, tcp], 1)  # (B, 3, 3)
    wanted = torch.stack([torch.ones_like(has_target), has_target], 1)
    bias = FRONT_BIAS_M * torch.randn(batch, 1, 3, device=state.device)
    bias = bias * (0.3 + torch.rand(batch, 1, 1, device=state.device))
    front = truth + bias + FRONT_NOISE_M * torch.randn_like(truth)
    seen = torch.bernoulli(torch.full_like(truth[..., 0], 0.92))
    wanted = wanted * torch.bernoulli(torch.full_like(wanted, 1.0 - HIDDEN))
    seen[:, :2] *= wanted
    rotation, origin = policy.camera_pose("wrist", state)
    local = ((truth[:, :2] - origin[:, None]) @ rotation).detach()
    camera = policy.config.cameras["wrist"]
    depth = local[..., 2].clamp(min=1e-3)
    u = camera.fx * local[..., 0] / depth + camera.cx
    v = camera.fy * local[..., 1] / depth + camera.cy
    margin = 2.0
    inside = (
        (local[..., 2] > 0.03)
        & (u > margin)
        & (u < camera.width - margin)
        & (v > margin)
        & (v < camera.height - margin)
    ).float()
    inside = inside * torch.bernoulli(torch.full_like(depth, 0.93)) * wanted
    wrist = truth[:, :2] + WRIST_NOISE * depth[..., None] * torch.randn_like(local)
    front, front_doubt = _confuse(front)
    wrist, wrist_doubt = _confuse(wrist)
    return {
        "front": Points(_blur(front, seen), _confidence(seen) * front_doubt),
        "wrist": Points(_blur(wrist, inside), _confidence(inside) * wrist_doubt),
    }


def imagine_anchor(start: Tensor, has_target: Tensor) -> Tensor:
    """Return the anchor (B, 2, 4) from the true positions at the start (B, 2, 3) [m]."""
    noisy = start + ANCHOR_NOISE_M * torch.randn_like(start)
    there = torch.stack([torch.ones_like(has_target), has_target], 1)
    confidence = _confidence(there * torch.bernoulli(torch.full_like(there, 0.97)))
    noisy, doubt = _confuse(noisy)
    return torch.cat([noisy, (confidence * doubt)[..., None]], -1)


def _confuse(points: Tensor) -> tuple[Tensor, Tensor]:
    """Take one thing for another now and then; return the points and how sure the eyes are.

    Eyes that are wrong are less sure, and some that are unsure are right.
    """
    wrong = torch.bernoulli(torch.full_like(points[..., 0], CONFUSED))
    unsure = torch.maximum(wrong, torch.bernoulli(torch.full_like(wrong, UNSURE)))
    elsewhere = OTHER_THING_M * torch.randn_like(points)
    elsewhere[..., 2] *= 0.05  # it stands on the table too
    doubt = 1.0 - unsure * (0.05 + 0.85 * torch.rand_like(wrong))
    return points + wrong[..., None] * elsewhere, doubt


def _confidence(seen: Tensor) -> Tensor:
    """High where seen and low where not, rarely in between."""
    sure = 1.0 - 0.25 * torch.rand_like(seen) ** 3
    return seen * sure + (1 - seen) * 0.12 * torch.rand_like(seen) ** 2


def _blur(points: Tensor, seen: Tensor) -> Tensor:
    """Move what is not seen far off: its point means nothing."""
    return points + (1 - seen[..., None]) * 0.1 * torch.randn_like(points)
