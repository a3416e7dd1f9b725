"""How much a change gained on the same trials, with its interval, and that in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vla_ros.evaluation.report import share
from vla_ros.evaluation.robustness import paired_difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Shares of right outcomes before and after a change, on the same trials, 0 to 1.

    Attributes:
        before: Share that was right without the change.
        after: With it.
        low: Lower end of the 95 % interval of what was gained (Newcombe 1998, method 10).
        high: Upper end.
        trials: How many.
    """

    before: float
    after: float
    low: float
    high: float
    trials: int

    @staticmethod
    def between(before: Sequence[bool], after: Sequence[bool]) -> Gain:
        """Compare outcomes of the same trials, in the same order."""
        _, low, high = paired_difference(after, before)
        return Gain(
            before=share(before), after=share(after), low=low, high=high, trials=len(before)
        )

    @property
    def value(self) -> float:
        """What was gained; below 0, lost."""
        return self.after - self.before

    def to_dict(self) -> dict[str, float]:
        """Return the gain and its interval as plain data."""
        return {"gain": self.value, "gain_low": self.low, "gain_high": self.high}

    def finding(self, about: str, change: str) -> str:
        """Say what was found.

        Args:
            about: What was asked: "Unseen pairs called by a new word".
            change: What was changed: "4 demonstrations".
        """
        points = f"{100 * self.value:+.1f} points"
        if self.low > 0:
            verdict = f"{change} gain {points}"
        elif self.high < 0:
            verdict = f"{change} do harm, {points}"
        else:
            verdict = f"no gain from {change} is shown, {points}"
        return (
            f"{about}: {verdict} (95 % interval {100 * self.low:+.1f} to {100 * self.high:+.1f}), "
            f"from {100 * self.before:.1f} % to {100 * self.after:.1f} % right "
            f"in {self.trials} scenes."
        )
