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
POSITION_DAMPING, ROTATION_DAMPING = 0.003, 0.1


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


def solve(
    chain: Chain, q: FloatArray, twist: FloatArray, fastest: FloatArray, room: FloatArray
) -> FloatArray:
    """Return the joint speeds that come nearest to a speed of the tip.

    When a joint would be faster than it may be, all are slowed down: the direction stays. A joint
    that would leave its room stands still, and the others make up for it as far as they can.

    Args:
        chain: From the robot's base to the tip.
        q: Joint positions in [rad], shape (n,).
        twist: Speed of the tip in [m/s] and [rad/s] in the base's frame, shape (6,).
        fastest: Highest speed of each joint in [rad/s], shape (n,).
        room: Speeds at which each joint would come to its lower, and to its upper limit, before
            it is asked again, in [rad/s], shape (2, n).

    Returns:
        In [rad/s], shape (n,).
    """
    table = jacobian(chain, q)
    for _ in q:
        velocity = _shorten(_solve(table, twist), fastest)
        stuck = (velocity < np.minimum(room[0], 0.0)) | (velocity > np.maximum(room[1], 0.0))
        if not stuck.any():
            return velocity
        table[:, stuck] = 0.0
    return np.zeros_like(q)


def _shorten(values: FloatArray, most: FloatArray) -> FloatArray:
    """Return values scaled down together until none is larger than what it may be."""
    return np.asarray(values / max(1.0, float((np.abs(values) / most).max())))


def _solve(table: FloatArray, twist: FloatArray) -> FloatArray:
    move, turn = table[:3], table[3:]
    inverse = _damped_inverse(move, POSITION_DAMPING)
    first = inverse @ twist[:3]
    rest = np.eye(table.shape[1]) - np.linalg.pinv(move, rcond=1e-3) @ move
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
    axis = np.array(
        [
            relative[2, 1] - relative[1, 2],
            relative[0, 2] - relative[2, 0],
            relative[1, 0] - relative[0, 1],
        ]
    )
    size = float(np.linalg.norm(axis))
    angle = float(np.arctan2(size, np.trace(relative) - 1.0))
    return axis * (angle / size) if size > 1e-9 else np.zeros(3)


def _damped_inverse(matrix: FloatArray, damping: float) -> FloatArray:
    square = matrix @ matrix.T + damping**2 * np.eye(len(matrix))
    return np.asarray(np.linalg.solve(square, matrix).T)
