"""Which demonstrations a policy cannot learn from, told before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

from vla_ros.core.errors import UserError
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.configuration import PolicyConfig


def require_data(data: Demonstrations, config: TrainingConfig, policy: PolicyConfig) -> None:
    """Refuse data that lacks what is to be trained, or has it in other shapes.

    Raises:
        UserError: naming both sides, and what to do.
    """
    folders = ", ".join(str(folder) for folder in (*config.data, *config.eyes_only))
    if config.images and "row" not in data.images:
        raise UserError(
            f"images is {config.images}, but no state in {folders} is rendered; give --images 0 "
            "to train the hand alone, or a folder collected with --image-share above 0"
        )
    if not data.meta["imitate"].any():
        raise UserError(
            f"{', '.join(str(folder) for folder in config.data)}: hold nothing to imitate, and "
            "stills train the eyes alone; give a --data folder of played episodes as well"
        )
    wrong = [
        f"{what} is {wanted} in the policy and {came} in the demonstrations"
        for what, wanted, came in _sizes(data, config, policy)
        if wanted != came
    ]
    if wrong:
        raise UserError(
            f"{folders}: do not fit the policy: {'; '.join(wrong)}. Choose the policy's sizes "
            "after the demonstrations, or collect others"
        )


def _sizes(
    data: Demonstrations, config: TrainingConfig, policy: PolicyConfig
) -> Iterator[tuple[str, object, object]]:
    """Yield what both the policy and the demonstrations have a size of: name, wanted, came."""
    states = data.states
    yield "n_joints", policy.n_joints, states["state"].shape[1]
    yield "horizon", policy.horizon, states["chunk"].shape[1]
    yield "imu_window", policy.imu_window, states["imu"].shape[1]
    if not config.images:
        return
    for name, camera in policy.cameras.items():
        height, width = data.images[f"rgb_{name}"].shape[1:3]
        yield f"the image of {name}", f"{camera.width} x {camera.height}", f"{width} x {height}"
