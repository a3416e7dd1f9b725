"""When a driver has said something, by our clock: late is late, and a skew is none of it."""

from __future__ import annotations

from collections import deque

from vla_ros.teleop.timing import VALID_S

#: So many messages say how far the driver's clock is off.
WINDOW = 100


class DriverClock:
    """Follows the difference between a driver's clock and ours.

    A word that was held up, by a network or a busy process, must not count as new. So a stamp is
    believed, less what the quickest of the last messages needed: that is skew, if it is more than
    a word holds, and what another one needed beyond it is delay.
    """

    def __init__(self) -> None:
        """Know nothing yet: the first message counts as new."""
        self._delays: deque[int] = deque(maxlen=WINDOW)

    def said_ns(self, stamp_ns: int, now_ns: int) -> int:
        """Return when something was said [ns].

        Args:
            stamp_ns: Stamp of the message [ns]; 0 for none.
            now_ns: Present time [ns].
        """
        if stamp_ns == 0:
            return now_ns
        self._delays.append(now_ns - stamp_ns)
        quickest = min(self._delays)
        agrees = 0 <= quickest <= VALID_S * 1e9
        return min(now_ns, stamp_ns if agrees else stamp_ns + quickest)
