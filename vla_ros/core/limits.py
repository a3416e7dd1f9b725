"""What the robot is allowed to do: joint limits and the workspace box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.core.types import FloatArray

#: Smallest change per control period that a limit may stand for in [rad]: about a billionth.
SMALLEST_CHANGE_RAD = 1000 / 2**40

Bounds3 = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JointLimits:
    """Limits of every joint, in the order of the commands.

    Attributes:
        names: Joint names, n of them.
        lower: Lowest position in [rad], shape (n,).
        upper: Highest position in [rad], shape (n,).
        velocity: Highest speed in [rad/s], shape (n,).
        acceleration: Highest acceleration in [rad/s^2], shape (n,).
        jerk: Highest jerk in [rad/s^3], shape (n,).
    """

    names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray

    def __post_init__(self) -> None:
        """Check shapes, finiteness and order.

        Raises:
            ValueError: naming the joint and the limit that is wrong.
        """
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"joint names must be given and differ, got {self.names}")
        for key in ("lower", "upper", "velocity", "acceleration", "jerk"):
            values = np.array(getattr(self, key), dtype=np.float64)
            if values.shape != (len(self.names),):
                raise ValueError(f"{key}: expected {len(self.names)} values, got {values.shape}")
            values.setflags(write=False)
            object.__setattr__(self, key, values)
            good = np.isfinite(values)
            if key in ("velocity", "acceleration", "jerk"):
                good = good & (values > 0.0)
            if not good.all():
                index = int(np.argmin(good))
                raise ValueError(
                    f"{self.names[index]}: {key} must be finite"
                    f" (and above 0 for rates), got {values[index]}"
                )
        if not (self.lower < self.upper).all():
            index = int(np.argmin(self.lower < self.upper))
            raise ValueError(
                f"{self.names[index]}: lower {self.lower[index]} must be below"
                f" upper {self.upper[index]}"
            )

    @property
    def size(self) -> int:
        """Number of joints."""
        return len(self.names)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkspaceBox:
    """The box that the tool centre point must stay in, in the frame of the robot's base.

    Attributes:
        lower: Smallest x, y, z in [m].
        upper: Largest x, y, z in [m].
    """

    lower: Bounds3
    upper: Bounds3

    def __post_init__(self) -> None:
        """Check that the box has a volume.

        Raises:
            ValueError: naming the axis.
        """
        for axis, low, high in zip("xyz", self.lower, self.upper, strict=True):
            if not (np.isfinite(low) and np.isfinite(high) and low < high):
                raise ValueError(f"workspace {axis}: lower {low} must be below upper {high}")

    def fault(self, point: FloatArray) -> str:
        """Return which face `point` (x, y, z in [m]) lies beyond, or "" when it is inside."""
        for axis, low, value, high in zip(
            "xyz", self.lower, point.tolist(), self.upper, strict=True
        ):
            if not low <= value <= high:
                bound, side = (low, "below") if value < low else (high, "above")
                return f"tcp {axis} {value:.3f} m is {side} {bound:.3f} m"
        return ""
