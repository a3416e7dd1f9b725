"""What two contracts disagree about, and whether a policy made for one can serve the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vla_ros.contract.features import FeatureKind
from vla_ros.contract.specs import ObservationSpec, RobotContract
from vla_ros.core.errors import ContractError


@dataclass(frozen=True, kw_only=True, slots=True)
class ContractDifference:
    """One thing that two contracts say differently.

    Attributes:
        key: Where, for example `observation.images.front.width`.
        trained: What the policy was made with.
        running: What the robot has.
        breaking: Whether the policy's inputs or outputs no longer mean the same.
    """

    key: str
    trained: str
    running: str
    breaking: bool

    def __str__(self) -> str:
        """Return one line that names the key and both values."""
        return f"{self.key}: made with {self.trained}, this robot has {self.running}"


def differences(trained: RobotContract, running: RobotContract) -> list[ContractDifference]:
    """Return all that `trained` and `running` say differently, the breaking first."""
    found = [*_observation_differences(trained, running), *_action_differences(trained, running)]
    return sorted(found, key=lambda difference: not difference.breaking)


def require_compatible(
    trained: RobotContract, running: RobotContract, *, allow_differences: bool = False
) -> list[ContractDifference]:
    """Return the differences, if a policy made for `trained` can serve `running`.

    Args:
        trained: Contract that the bundle embeds.
        running: Contract of the robot.
        allow_differences: Serve it although inputs or outputs no longer mean the same.

    Raises:
        ContractError: naming every breaking difference, unless they are allowed.
    """
    found = differences(trained, running)
    breaking = [difference for difference in found if difference.breaking]
    if breaking and not allow_differences:
        lines = "\n".join(f"  {difference}" for difference in breaking)
        raise ContractError(
            f"the policy was made for '{trained.name}' and cannot serve '{running.name}':\n"
            f"{lines}\n"
            "Change the robot's contract, use a policy that was made for it, or allow the"
            " differences explicitly."
        )
    return found


def _differ(
    key: str, trained: object, running: object, breaking: bool = False
) -> Iterator[ContractDifference]:
    if trained != running:
        yield ContractDifference(
            key=key, trained=str(trained), running=str(running), breaking=breaking
        )


def _observation_differences(
    trained: RobotContract, running: RobotContract
) -> Iterator[ContractDifference]:
    ours = {spec.feature: spec for spec in trained.observations}
    theirs = {spec.feature: spec for spec in running.observations}
    for feature, spec in ours.items():
        if feature not in theirs:
            needed = "a required sensor" if spec.required else "an optional sensor"
            yield from _differ(feature, needed, "none", spec.required)
        else:
            yield from _sensor_differences(spec, theirs[feature])
    for feature in theirs.keys() - ours.keys():
        yield from _differ(feature, "none", "a sensor that the policy ignores")


def _sensor_differences(
    trained: ObservationSpec, running: ObservationSpec
) -> Iterator[ContractDifference]:
    key = trained.feature
    ours, theirs = (f"{spec.width}x{spec.height} px" for spec in (trained, running))
    yield from _differ(f"{key} size", ours, theirs, True)
    windowed = trained.kind is FeatureKind.IMU  # a window of N readings spans another time
    yield from _differ(f"{key}.rate_hz", trained.rate_hz, running.rate_hz, windowed)
    yield from _differ(f"{key}.frame", trained.frame, running.frame, windowed)
    for name in ("topic", "type", "encoding", "max_age_s", "required"):
        yield from _differ(f"{key}.{name}", getattr(trained, name), getattr(running, name))


def _action_differences(
    trained: RobotContract, running: RobotContract
) -> Iterator[ContractDifference]:
    ours, theirs = trained.action, running.action
    yield from _differ("action.joints", ", ".join(ours.joints), ", ".join(theirs.joints), True)
    if ours.joints == theirs.joints:
        for a, b in zip(ours.joint_specs, theirs.joint_specs, strict=True):
            key = f"action.joints.{a.name}"
            yield from _differ(f"{key}.unit", a.unit, b.unit, True)
            for name in ("position", "velocity", "acceleration", "jerk", "home"):
                yield from _differ(f"{key}.{name}", getattr(a, name), getattr(b, name))
    yield from _differ(
        "robot kinematics",
        f"{trained.robot.urdf} ({trained.robot.kinematics_sha256[:8]})",
        f"{running.robot.urdf} ({running.robot.kinematics_sha256[:8]})",
        trained.robot.kinematics_sha256 != running.robot.kinematics_sha256,
    )
    yield from _differ("action.control_rate_hz", ours.control_rate_hz, theirs.control_rate_hz)
    yield from _differ("action.blend_s", ours.blend_s, theirs.blend_s)
    yield from _differ("action.workspace", ours.workspace, theirs.workspace)
    for name in ("topic", "type"):
        yield from _differ(
            f"action.command.{name}", getattr(ours.command, name), getattr(theirs.command, name)
        )
