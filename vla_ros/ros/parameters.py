"""ROS parameters from a frozen dataclass: one field, one read-only parameter."""

from __future__ import annotations

from dataclasses import MISSING, Field, field, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from rcl_interfaces.msg import ParameterDescriptor

from vla_ros.core.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rclpy.node import Node

Parameters = TypeVar("Parameters", bound="DataclassInstance")

#: Parameters that rclpy itself declares on every node.
BUILT_IN = ("use_sim_time", "start_type_description_service")


class ParameterError(UserError):
    """A ROS parameter is missing, has the wrong type, or a value that the node refuses."""


def parameter(default: Any = MISSING, *, about: str) -> Any:
    """Return a dataclass field that is a ROS parameter; without a default it must be given."""
    if default is MISSING:
        return field(metadata={"help": about})
    return field(default=default, metadata={"help": about})


def declare_parameters(node: Node, kind: type[Parameters]) -> Parameters:
    """Declare every field of `kind` on the node and return them with their values.

    From now on they are read-only, those included that were given when the node was started. The
    node must have been made with `automatically_declare_parameters_from_overrides`, so that
    a misspelt parameter is seen and named.

    Raises:
        ParameterError: if one is missing, has the wrong type, or `kind` refuses a value.
    """
    hints = get_type_hints(kind)
    values = {item.name: _value(node, item, hints[item.name]) for item in fields(kind)}
    known = {*values, *BUILT_IN}
    for name in node.get_parameters_by_prefix(""):
        if name not in known and not name.startswith("qos_overrides"):
            node.get_logger().warning(
                f"parameter '{name}' does not exist here; known: {', '.join(sorted(values))}"
            )
    try:
        return kind(**values)
    except ValueError as error:
        raise ParameterError(f"{node.get_fully_qualified_name()}: {error}") from error


def _value(node: Node, item: Field[Any], expected: type) -> Any:
    where = f"{node.get_fully_qualified_name()}: parameter '{item.name}'"
    descriptor = ParameterDescriptor(
        description=item.metadata["help"], read_only=True, dynamic_typing=True
    )
    if node.has_parameter(item.name):
        if not node.describe_parameter(item.name).read_only:  # rclpy made it of what was given
            node.set_descriptor(item.name, descriptor)
    elif item.default is MISSING:
        raise ParameterError(
            f"{where} is required ({item.metadata['help']}): "
            f"give it with --ros-args -p {item.name}:=..."
        )
    else:
        node.declare_parameter(item.name, item.default, descriptor)
    value = node.get_parameter(item.name).value
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if expected is str and type(value) is int:
        return str(value)  # YAML reads a list of one number as that number: `cpus:=2`
    if type(value) is not expected:
        raise ParameterError(f"{where}: expected {expected.__name__}, got {value!r}")
    return value
