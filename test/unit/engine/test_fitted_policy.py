from __future__ import annotations

import numpy as np

from vla_ros.core.types import Observation
from vla_ros.engine.fitted_policy import fit_observation


def test_images_and_depths_get_the_size_the_policy_takes_and_the_rest_stays() -> None:
    state = np.zeros(6, np.float32)
    observation = Observation(
        stamp_ns=5,
        state=state,
        images={
            "front": np.full((480, 640, 3), 9, np.uint8),
            "extra": np.zeros((4, 4, 3), np.uint8),
        },
        depths={"front": np.full((480, 640), 0.7, np.float32)},
    )
    fitted = fit_observation(observation, {"front": (128, 128), "wrist": (128, 128)})
    assert fitted.images["front"].shape == (128, 128, 3)
    assert fitted.depths["front"].shape == (128, 128)
    assert fitted.images["extra"].shape == (4, 4, 3)
    assert fitted.state is state
    assert fitted.stamp_ns == 5
    assert fitted.imu is None
