"""Count violations in a stream of commands, knowing nothing of what made them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_ros.core.limits import JointLimits
from vla_ros.core.types import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One limit that one command broke.

    Attributes:
        joint: Name of the joint, or "tip" for the workspace.
        quantity: "position", "velocity", "acceleration", "jerk", "finite", or what lies beyond
            which face of the workspace.
        value: What the command did, in SI units.
        limit: What was allowed.
    """

    joint: str
    quantity: str
    value: float
    limit: float

    def __str__(self) -> str:
        """Return one line that names joint, quantity, value and limit."""
        return f"{self.joint}: {self.quantity} {self.value:.6g}, limit {self.limit:.6g}"


class LimitChecker:
    """Checks every command against the limits by finite differences, without a tolerance.

    A tip that begins outside the workspace is not held to it until it has been inside.
    """

    def __init__(
        self,
        limits: JointLimits,
        dt_s: float,
        workspace_fault: Callable[[FloatArray], str] | None = None,
    ) -> None:
        """Check commands that are `dt_s` [s] apart.

        Args:
            limits: Of the joints.
            dt_s: Time between commands [s].
            workspace_fault: Returns which face of the workspace joint positions [rad], shape (n,),
                lie beyond, or "" when they are inside; None for no workspace.
        """
        self._limits = limits
        self._dt_s = dt_s
        self._workspace_fault = workspace_fault
        self._been_inside = False
        self._history: list[FloatArray] = []
        self._at_rest = True
        self.commands = 0
        self.violations = 0

    def reset(self, *, at_rest: bool = True) -> None:
        """Forget the past commands: the next one may be anywhere. The counts stay.

        Args:
            at_rest: Whether the next command counts as standing still; otherwise a rate is
                checked as soon as there are enough commands to tell it.
        """
        self._history.clear()
        self._at_rest = at_rest
        self._been_inside = False

    def observe(self, position: FloatArray) -> list[Violation]:
        """Take the next command in [rad], shape (n,), and return the limits it breaks.

        The first command ever counts as standing still.
        """
        limits, found = self._limits, []
        self.commands += 1
        q = np.array(position, dtype=np.float64)
        if not np.isfinite(q).all():
            found = [self._make(i, "finite", q, np.zeros_like(q)) for i in _where(~np.isfinite(q))]
            self.reset()
        else:
            before = self._history or ([q, q, q] if self._at_rest else [])
            self._history = [*before, q][-4:]
            for bad, bound in ((q < limits.lower, limits.lower), (q > limits.upper, limits.upper)):
                found += [self._make(i, "position", q, bound) for i in _where(bad)]
            for order, quantity in enumerate(("velocity", "acceleration", "jerk"), 1):
                if len(self._history) <= order:
                    break
                value = np.diff(self._history[-order - 1 :], order, axis=0)[0] / self._dt_s**order
                bound = getattr(limits, quantity)
                found += [
                    self._make(i, quantity, value, bound)
                    for i in _where(~(np.abs(value) <= bound))
                ]
            found += self._outside_workspace(q)
        self.violations += len(found)
        return found

    def _outside_workspace(self, position: FloatArray) -> list[Violation]:
        fault = self._workspace_fault(position) if self._workspace_fault is not None else ""
        self._been_inside = self._been_inside or not fault
        if not (fault and self._been_inside):
            return []
        return [Violation(joint="tip", quantity=fault, value=float("nan"), limit=float("nan"))]

    def _make(self, index: int, quantity: str, value: FloatArray, limit: FloatArray) -> Violation:
        return Violation(
            joint=self._limits.names[index],
            quantity=quantity,
            value=float(value[index]),
            limit=float(limit[index]),
        )


def _where(mask: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.flatnonzero(mask)]
