"""What a run trains on: collected demonstrations, recorded episodes, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vla_ros.core.errors import UserError
from vla_ros.learning.dataset import Demonstrations
from vla_ros.learning.run_checks import require_data
from vla_ros.learning.training_config import TrainingConfig
from vla_ros.policy.configuration import PolicyConfig

if TYPE_CHECKING:
    from vla_ros.learning.recorded import Recordings


def open_recordings(config: TrainingConfig, policy: PolicyConfig) -> Recordings | None:
    """Return the recorded episodes of a run; None if it has none.

    Raises:
        UserError: if they do not fit the policy, or what reads them is not installed.
    """
    if not config.recordings:
        return None
    try:
        from vla_ros.learning.recorded import Recordings  # an extra: `data`
    except ImportError as error:
        raise UserError(
            f"recordings are read with {error.name}, which is not installed: pip install "
            "'vla_ros[data]'"
        ) from error
    return Recordings(config, policy)


def load_data(
    config: TrainingConfig, policy: PolicyConfig, recordings: Recordings | None
) -> Demonstrations:
    """Return the collected demonstrations; without any, what recordings tell of joints and IMU.

    Raises:
        FileNotFoundError: if a folder holds no shard.
        UserError: if the data lacks what is to be trained; names it.
    """
    if config.data or recordings is None:
        data = Demonstrations.load(config.data, config.eyes_only, horizon=policy.horizon)
    else:
        data = recordings.measured()
    require_data(data, config, policy)
    return data
