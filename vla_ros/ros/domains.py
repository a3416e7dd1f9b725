"""Find a ROS domain that nothing on this machine uses."""

from __future__ import annotations

import os
import socket

import numpy as np

#: Domains whose ports are free for use everywhere (RTPS 9.6.1 and Linux's ephemeral ports).
DOMAINS = range(1, 101)
#: UDP port of the first participant's discovery in domain d: 7400 + 250 d + 10 (RTPS 9.6.1).
BASE_PORT, PORTS_PER_DOMAIN, FIRST_PARTICIPANT = 7400, 250, 10


def choose_domain() -> int:
    """Return ROS_DOMAIN_ID if the user set one, or else a domain without participants.

    Raises:
        RuntimeError: if every domain has some.
    """
    if chosen := os.environ.get("ROS_DOMAIN_ID"):
        return int(chosen)
    for domain in np.random.default_rng().permutation(list(DOMAINS)):
        if _is_free(int(domain)):
            return int(domain)
    raise RuntimeError("every ROS domain of this machine is in use; set ROS_DOMAIN_ID")


def _is_free(domain: int) -> bool:
    port = BASE_PORT + PORTS_PER_DOMAIN * domain + FIRST_PARTICIPANT
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
