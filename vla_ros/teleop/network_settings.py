"""Where the network device listens, and to whom."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from vla_ros.core.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Where the server listens, and to whom.

    Attributes:
        host: Address to listen on; beyond the loopback only with a token.
        port: TCP port; 0 for any that is free.
        token: What a client has to give; "" for none.
        origins: Web sites whose pages may connect, beside those of this machine.
        rate_hz: How often a client has to speak at least.
        max_delay_s: Age of the newest tick that a client may have [s].
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""
    origins: tuple[str, ...] = ()
    rate_hz: float = 30.0
    max_delay_s: float = 0.25

    def __post_init__(self) -> None:
        """Refuse to be reachable from elsewhere without a token.

        Raises:
            UserError: says what to do.
        """
        if not self.token and not is_loopback(self.host):
            raise UserError(
                f"network.host: '{self.host}' can be reached from other machines, and whoever"
                " reaches it moves the robot: set network.token, or listen on 127.0.0.1"
            )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
