"""Joint speeds that move the tip of a chain, by damped least squares. numpy only.

The experts' inverse kinematics (`vla_ros.learning.inverse_kinematics`) need MuJoCo and mink, and
solve a quadratic program. An operator's arm needs neither: the contract names a URDF, `core` makes
a chain of it, and one step of 10 to 20 ms is small enough for the first order. Limits are the
gate's, which keeps them whatever is asked for.

The position of the tip comes first and the orientation takes what is left. An arm of five joints
cannot hold every orientation; weighed against each other, the orientation that cannot be reached
would draw the tip off the line that the operator asks for.
"""

from __future__ import annotations

import numpy as np

from vla_ros.core.kinematics import Chain, cross_matrix
from vla_ros.core.types import FloatArray

#: Damping of the least squares [m], [rad]: near a singular pose joints stay slow, the tip lags.
POSITION_DAMPING, ROTATION_DAMPING = 0.01, 0.1


def jacobian(chain: Chain, q: FloatArray) -> FloatArray:
    """Return how the tip moves with the joints at `q` [rad], shape (n,).

    Returns:
        Shape (6, n): velocity [m/s] and turn [rad/s] of the tip in the base's frame, per joint.
    """
    frames = chain.frames(q)
    joints, tip = frames[:-1], frames[-1]
    axes = np.einsum("nij,nj->ni", joints[:, :3, :3], chain.axes)
    arms = tip[:3, 3] - joints[:, :3, 3]
    slides = np.array(chain.prismatic)[:, None]
    linear = np.where(slides, axes, np.cross(axes, arms))
    angular = np.where(slides, 0.0, axes)
    return np.asarray(np.concatenate([linear, angular], axis=1).T)


def solve(chain: Chain, q: FloatArray, twist: FloatArray) -> FloatArray:
    """Return the joint motion that comes nearest to a small motion of the tip.

    Args:
        chain: From the robot's base to the tip.
        q: Joint positions in [rad], shape (n,).
        twist: Motion of the tip in [m] and [rad], or per second, in the base's frame, shape (6,).

    Returns:
        In [rad], or per second, shape (n,).
    """
    table = jacobian(chain, q)
    move, turn = table[:3], table[3:]
    inverse = _damped_inverse(move, POSITION_DAMPING)
    first = inverse @ twist[:3]
    rest = np.eye(len(q)) - np.linalg.pinv(move, rcond=1e-3) @ move
    free = turn @ rest
    second = _damped_inverse(free, ROTATION_DAMPING) @ (twist[3:] - turn @ first)
    return np.asarray(first + rest @ second)


def rotation_by(vector: FloatArray) -> FloatArray:
    """Return the rotation, shape (3, 3), about `vector` by its length [rad], shape (3,)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    cross = cross_matrix(vector / angle)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross))


def turn_between(start: FloatArray, end: FloatArray) -> FloatArray:
    """Return the turn, shape (3,) [rad], that brings one rotation (3, 3) to another."""
    relative = end @ start.T
    angle = float(np.arccos(np.clip((np.trace(relative) - 1.0) / 2.0, -1.0, 1.0)))
    axis = np.array(
        [
            relative[2, 1] - relative[1, 2],
            relative[0, 2] - relative[2, 0],
            relative[1, 0] - relative[0, 1],
        ]
    )
    size = float(np.linalg.norm(axis))
    return axis * (angle / size) if size > 1e-9 else np.zeros(3)


def _damped_inverse(matrix: FloatArray, damping: float) -> FloatArray:
    square = matrix @ matrix.T + damping**2 * np.eye(len(matrix))
    return np.asarray(np.linalg.solve(square, matrix).T)
