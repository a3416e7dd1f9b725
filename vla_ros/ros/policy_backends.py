"""Reaches what opens policies, which nothing of ROS may import by itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from vla_ros.contract import ContractDifference
from vla_ros.core.errors import UserError
from vla_ros.core.protocols import Policy

#: Opens a policy; see `vla_ros.engine.opening.open_policy` for the arguments.
Opening = Callable[..., tuple[Policy, list[ContractDifference]]]

OPENING = "vla_ros.engine.opening:open_policy"


def load_opening() -> Opening:
    """Return what opens policies.

    Raises:
        UserError: if it cannot be imported.
    """
    module, _, attribute = OPENING.partition(":")
    try:
        return cast(Opening, getattr(importlib.import_module(module), attribute))
    except ImportError as error:
        raise UserError(f"policies cannot be opened: {error}") from error
