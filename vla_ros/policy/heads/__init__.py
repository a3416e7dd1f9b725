"""Ways to decide an action chunk, one module each, all behind `Head`."""

from __future__ import annotations

from vla_ros.core.errors import UserError
from vla_ros.policy.heads.flow import FlowHead
from vla_ros.policy.heads.head import Action, Head, Prefix
from vla_ros.policy.heads.l1 import L1Head
from vla_ros.policy.heads.tokens import TokensHead

HEADS: dict[str, type[Head]] = {"l1": L1Head, "flow": FlowHead, "tokens": TokensHead}


def find_head(name: str) -> type[Head]:
    """Return the class of a head.

    Raises:
        UserError: if there is none of this name; lists those there are.
    """
    if name not in HEADS:
        raise UserError(f"head {name!r} does not exist; choose one of {', '.join(HEADS)}")
    return HEADS[name]


__all__ = ["HEADS", "Action", "FlowHead", "Head", "L1Head", "Prefix", "TokensHead", "find_head"]
