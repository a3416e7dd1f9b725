"""Forward kinematics from a URDF."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.core.kinematics import Chain
from vla_ros.core.urdf import Urdf, rotation_from_rpy

PLANAR = """
<robot name="planar">
  <link name="base"/><link name="a"/><link name="b"/><link name="slide"/><link name="tip"/>
  <joint name="first" type="revolute"><parent link="base"/><child link="a"/>
    <origin xyz="0 0 0.1"/><axis xyz="0 0 1"/><limit lower="-1" upper="2" effort="1" velocity="1"/>
  </joint>
  <joint name="second" type="continuous"><parent link="a"/><child link="b"/>
    <origin xyz="0.3 0 0"/><axis xyz="0 0 2"/></joint>
  <joint name="third" type="prismatic"><parent link="b"/><child link="slide"/>
    <origin xyz="0.2 0 0" rpy="0 0 1.5707963267948966"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="0.1" effort="1" velocity="1"/></joint>
  <joint name="fixed" type="fixed"><parent link="slide"/><child link="tip"/>
    <origin xyz="0 0 0.05"/></joint>
</robot>
"""


def planar() -> Chain:
    return Chain.from_urdf(PLANAR, "base", "tip")


@settings(deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 0.1))
def test_a_planar_arm_is_where_trigonometry_says(a: float, b: float, slide: float) -> None:
    x = 0.3 * np.cos(a) + 0.2 * np.cos(a + b) - slide * np.sin(a + b)
    y = 0.3 * np.sin(a) + 0.2 * np.sin(a + b) + slide * np.cos(a + b)
    tip = planar().forward(np.array([a, b, slide]))
    np.testing.assert_allclose(tip[:3, 3], [x, y, 0.15], atol=1e-12)
    np.testing.assert_allclose(tip[:3, :3] @ tip[:3, :3].T, np.eye(3), atol=1e-12)


def test_limits_names_and_axes_come_from_the_urdf() -> None:
    chain = planar()
    assert chain.names == ("first", "second", "third")
    np.testing.assert_array_equal(chain.lower, [-1, -np.inf, 0])
    np.testing.assert_array_equal(chain.upper, [2, np.inf, 0.1])
    np.testing.assert_allclose(chain.axes, [[0, 0, 1], [0, 0, 1], [1, 0, 0]])


def test_units_and_speeds_come_from_the_urdf_and_a_missing_limit_is_none() -> None:
    joints = {joint.name: joint for joint in Urdf.parse(PLANAR).joints}
    units = {name: joint.unit for name, joint in joints.items()}
    assert units == {"first": "rad", "second": "rad", "third": "m", "fixed": ""}
    assert [joint.velocity for joint in joints.values()] == [1.0, np.inf, 1.0, np.inf]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_many_positions_at_once_agree_with_one_at_a_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for chain in (planar(), load_contract("tabletop_sim").chain()):
        q = rng.uniform(-1.5, 1.5, (7, len(chain.names)))
        expected = [chain.forward(row)[:3, 3] for row in q]
        np.testing.assert_allclose(chain.tip_positions(q), expected, atol=1e-12)
        np.testing.assert_allclose(chain.points(q[0])[-1], expected[0], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_levers_bound_how_far_the_tip_moves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for chain in (planar(), load_contract("tabletop_sim").chain()):
        low, high = np.maximum(chain.lower, -3), np.minimum(chain.upper, 3)
        q, p = rng.uniform(low, high, (2, len(low)))
        moved = np.linalg.norm(np.diff(chain.tip_positions(np.array([q, p])), axis=0))
        assert moved <= chain.levers() @ np.abs(p - q) + 1e-12


def test_fixed_axis_angles_are_applied_roll_first() -> None:
    rotated = rotation_from_rpy((np.pi / 2, 0.0, np.pi / 2)) @ np.array([0.0, 1.0, 0.0])
    np.testing.assert_allclose(rotated, [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("urdf", "message"),
    [
        ("<robot", "not XML"),
        ("<robot/>", "no chain from link 'base' to link 'tip'"),
        (PLANAR.replace('<parent link="a"/>', '<parent link="tip"/>'), "no chain from link"),
        (PLANAR.replace('type="continuous"', 'type="planar"'), "joint 'second' has type 'planar'"),
        (PLANAR.replace('xyz="0 0 2"', 'xyz="0 0 0"'), "joint 'second' has the axis 0 0 0"),
        (PLANAR.replace('xyz="0.3 0 0"', 'xyz="0.3 0"'), "origin of joint 'second'"),
        (PLANAR.replace('<parent link="a"/>', ""), "joint 'second' lacks <parent link=...>"),
        (PLANAR.replace('lower="-1"', 'lower="-pi"'), "joint 'first': lower: .* got '-pi'"),
        (PLANAR.replace('velocity="1"', 'velocity=""'), "'first': velocity: expected a number"),
        ("<sdf/>", "expected a <robot>, got a <sdf>"),
    ],
)
def test_a_urdf_that_makes_no_chain_is_refused_and_says_where(urdf: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Chain.from_urdf(urdf, "base", "tip")
