"""Says that what an instruction names is not there, from what the policy's chunks say of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vla_ros.core.errors import UserError

#: Room for rounding in durations [s]; stamps are multiples of 50 ms.
_ROUNDING_S = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalSettings:
    """When a policy is believed that what it is told to handle is not there.

    Attributes:
        below: Grounding under which a chunk says so, 0 to 1; 0 never refuses.
        after_s: How long the grounding must stay there without a break, in [s].
        within_s: Time from the first chunk in [s] in which that may happen. After it the task is
            under way, and a low grounding means that the arm hides the thing.
    """

    below: float = 0.5
    after_s: float = 0.5
    within_s: float = 2.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UserError: names the setting, what was expected and what came.
        """
        if not 0 <= self.below <= 1:
            raise UserError(f"planner: refuse_below is {self.below}; expected 0 to 1")
        if not (self.within_s >= 0 and math.isfinite(self.within_s)):
            raise UserError(f"planner: refuse_within_s is {self.within_s}; expected 0 s or more")
        if not 0 <= self.after_s <= self.within_s:
            raise UserError(
                f"planner: refuse_after_s is {self.after_s}; expected 0 to refuse_within_s, "
                f"{self.within_s}"
            )


#: Of a step that follows another one: the arm stands where that ended, and may hide what is next.
LATER_STEP = RefusalSettings(after_s=1.5, within_s=3.0)


class RefusalSignal:
    """Whether the grounding was low for long enough while the task began; given once, for good.

    One signal serves one task, or one step of several. Not thread-safe.

    Attributes:
        given: Whether what is named is taken not to be there.
        pending: Whether that may be decided soon: a task is not done meanwhile.
    """

    def __init__(self, settings: RefusalSettings | None = None) -> None:
        """Take the thresholds; None for the defaults."""
        self._settings = settings or RefusalSettings()
        self._begin_s: float | None = None
        self._since_s: float | None = None
        self.given = self.pending = False

    def hear(self, grounding: float, now_s: float) -> bool:
        """Take the grounding of a chunk; return whether what is named is taken not to be there.

        Args:
            grounding: Of the chunk, 0 to 1. Anything else, NaN too, says nothing and ends a low
                spell: a broken number must not refuse a task.
            now_s: Time of the chunk in [s], on any clock that does not go back.
        """
        if self.given:
            return True
        settings = self._settings
        self._begin_s = now_s if self._begin_s is None else self._begin_s
        if not 0.0 <= grounding < settings.below:
            self.interrupt()
            return False
        self._since_s = now_s if self._since_s is None else self._since_s
        in_time = now_s - self._begin_s <= settings.within_s + _ROUNDING_S
        lasted = now_s - self._since_s >= settings.after_s - _ROUNDING_S
        self.given, self.pending = in_time and lasted, in_time and not lasted
        return self.given

    def interrupt(self) -> None:
        """End a low spell: what came next was not work on the task."""
        self._since_s, self.pending = None, False
