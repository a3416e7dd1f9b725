"""Whether a contract's joints, limits and home pose fit the robot's description."""

from __future__ import annotations

import difflib
from typing import NoReturn

import numpy as np

from vla_ros.contract.robot_model import load_robot
from vla_ros.contract.section import Section
from vla_ros.contract.specs import JointSpec, RobotContract
from vla_ros.core.urdf import UrdfJoint

#: By how much a range may exceed the URDF's for rounding, in [rad] or [m].
ROUNDING = 1e-6


def check_robot(contract: RobotContract, top: Section) -> None:
    """Check every joint of a contract, and the home pose, against the robot's description.

    Args:
        contract: What has been read.
        top: The file that it came from.

    Raises:
        ContractError: naming file, key, what was expected and what came.
    """
    urdf, chain, joints = contract.robot.urdf, contract.chain(), contract.action.joint_specs
    for name in chain.names:
        if name not in contract.action.joints:
            top.fail(
                "action.joints",
                f"expected joint '{name}', which moves {contract.robot.tip_frame} in {urdf};"
                f" got {', '.join(contract.action.joints)}",
            )
    described = {joint.name: joint for joint in load_robot(urdf).joints}
    section = top.section("action").section("joints")
    for spec in joints:
        if spec.name not in described:
            _fail_unknown(spec.name, urdf, described, section)
        _check_joint(spec, described[spec.name], urdf, section.section(spec.name))
    if contract.workspace is not None:
        homes = {spec.name: spec.home for spec in joints}
        home = np.array([homes[name] for name in chain.names])
        fault = contract.workspace.fault(chain.forward(home)[:3, 3])
        if fault:
            top.fail("action.workspace", f"the home pose is outside: {fault}")


def _fail_unknown(
    name: str, urdf: str, described: dict[str, UrdfJoint], section: Section
) -> NoReturn:
    moving = [joint.name for joint in described.values() if joint.unit]
    near = difflib.get_close_matches(name, moving, n=1)
    advice = f" Did you mean '{near[0]}'?" if near else ""
    section.fail(
        name, f"there is no such joint in {urdf}, where {', '.join(moving)} move.{advice}"
    )


def _check_joint(spec: JointSpec, joint: UrdfJoint, urdf: str, section: Section) -> None:
    """Refuse a joint that the robot does not have like this, or limits beyond its own."""
    if spec.unit != joint.unit:
        wanted = f"{joint.unit}, since" if joint.unit else "a joint that moves, but"
        section.fail(
            "unit",
            f"expected {wanted} the joint is {joint.kind} in {urdf}, got {spec.unit}",
        )
    low, high = spec.position
    if not joint.lower - ROUNDING <= low <= high <= joint.upper + ROUNDING:
        section.fail(
            "position",
            f"expected a range within that of {urdf}, [{joint.lower:g}, {joint.upper:g}],"
            f" got [{low:g}, {high:g}]",
        )
    if not spec.velocity <= joint.velocity:
        section.fail(
            "velocity",
            f"expected at most what {urdf} says, {joint.velocity:g}, got {spec.velocity:g}",
        )
