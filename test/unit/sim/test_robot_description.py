"""The robot's description against the numbers published for the SO-101."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.core.kinematics import Chain
from vla_ros.sim.model import robot_urdf

#: Where the joints' axes are when all joints are at zero, in base_link [m].
PUBLISHED = {
    "shoulder_pan": (0.0388, 0.0, 0.0624),
    "shoulder_lift": (0.0692, -0.0183, 0.1166),
    "elbow_flex": (0.0972, -0.0183, 0.2292),
    "wrist_flex": (0.2321, -0.0183, 0.2344),
    "wrist_roll": (0.2932, 0.0, 0.2344),
}
TCP = (0.3914, 0.0, 0.2265)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain.from_urdf(robot_urdf(), "base_link", "tcp")


def test_the_joints_are_where_they_were_published(chain: Chain) -> None:
    assert chain.names == tuple(PUBLISHED)
    points = dict(zip(chain.names, chain.points(np.zeros(5)), strict=False))
    for name, expected in PUBLISHED.items():
        np.testing.assert_allclose(points[name], expected, atol=4e-4, err_msg=name)


def test_the_tcp_is_where_it_was_published(chain: Chain) -> None:
    np.testing.assert_allclose(chain.forward(np.zeros(5))[:3, 3], TCP, atol=2e-4)


def test_positive_pan_turns_right_and_positive_lift_bends_down(chain: Chain) -> None:
    turned = chain.forward(np.array([0.5, 0, 0, 0, 0]))[:3, 3]
    assert turned[1] < -0.1
    reaching = chain.forward(np.array([0, 0.5, 0, 0, 0]))[:3, 3]
    assert reaching[2] < TCP[2]
