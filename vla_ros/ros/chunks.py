"""`vla_ros_interfaces/ActionChunk` to and from `core.types.ActionChunk`."""

from __future__ import annotations

import array

import numpy as np
from vla_ros_interfaces.msg import ActionChunk as ActionChunkMessage

from vla_ros.core.errors import ChunkRejected
from vla_ros.core.types import ActionChunk
from vla_ros.ros.stamps import to_ns, to_time


def write_chunk(
    chunk: ActionChunk, *, bundle: str = "", inference_ms: float = 0.0
) -> ActionChunkMessage:
    """Return the message of a chunk; `inference_ms` is how long the policy took [ms]."""
    message = ActionChunkMessage(
        joint_names=list(chunk.joint_names),
        step_s=float(chunk.step_s),
        horizon=chunk.horizon,
        positions=array.array("d", np.ravel(chunk.positions)),
        progress=float(chunk.progress),
        grounding=float(chunk.grounding),
        instruction=chunk.instruction,
        bundle=bundle,
        inference_ms=float(inference_ms),
    )
    message.header.stamp = to_time(chunk.stamp_ns)
    return message


def read_chunk(message: ActionChunkMessage) -> ActionChunk:
    """Return the chunk of a message. Finiteness and limits are the gate's to judge.

    Raises:
        ChunkRejected: if the number of positions is not horizon x joints.
    """
    horizon, joints = int(message.horizon), len(message.joint_names)
    if len(message.positions) != horizon * joints:
        raise ChunkRejected(
            f"{len(message.positions)} positions for {horizon} rows of {joints} joints"
        )
    positions = np.array(message.positions, np.float64).reshape(horizon, joints)
    return ActionChunk(
        stamp_ns=to_ns(message.header.stamp),
        step_s=float(message.step_s),
        joint_names=tuple(message.joint_names),
        positions=positions,
        progress=float(message.progress),
        grounding=float(message.grounding),
        instruction=message.instruction,
    )
