"""A chunk that comes too late is not executed, and counted."""

from __future__ import annotations

import math

from vla_ros.core.errors import UserError


class Deadline:
    """After it the gate goes on with what it has, to the end of that chunk, and holds then."""

    def __init__(self, limit_s: float = 0.0) -> None:
        """Set it.

        Args:
            limit_s: Longest time from observation to gate [s]; 0 for none.

        Raises:
            UserError: if it is no duration.
        """
        if not 0.0 <= limit_s < math.inf:
            raise UserError(f"deadline_s is {limit_s}; expected 0 (none) or a duration above 0 s")
        self.limit_s = limit_s
        #: Chunks that came too late.
        self.misses = 0

    def met(self, delay_s: float) -> bool:
        """Return whether a chunk with this delay [s] is in time; count it if it is not."""
        late = self.limit_s > 0.0 and delay_s > self.limit_s + 1e-9
        self.misses += late
        return not late
