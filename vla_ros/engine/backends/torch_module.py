"""The torch module that a bundle's graph was exported from, with the bundle's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from safetensors.torch import load_file
from torch import Tensor, nn

from vla_ros.core.errors import EngineError
from vla_ros.engine.engine import Graph
from vla_ros.policy.bundle import GRAPH, GROUNDING, WEIGHTS, Bundle
from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.deployed import (
    GROUND_INPUT_NAMES,
    GROUND_OUTPUT_NAMES,
    OUTPUT_NAMES,
    Deployed,
    DeployedGrounding,
    example_ground_inputs,
    example_inputs,
    graph_inputs,
)
from vla_ros.policy.model import Policy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchModule:
    """A module that computes what a graph does.

    Attributes:
        module: In evaluation mode.
        inputs: Names of its arguments, in order.
        outputs: Names of what it returns, in order.
        example: Arguments for one robot.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: tuple[Tensor, ...]


def rebuild(graph: Graph) -> TorchModule:
    """Return the module that a graph of a bundle was exported from.

    Raises:
        EngineError: if the graph is not one of a bundle's own.
        BundleError: if the bundle is damaged.
    """
    if graph.bundle is None:
        raise EngineError(
            f"{graph.path}: torch computes from the weights of a bundle, and this graph belongs "
            "to none; name its bundle, or take a backend that runs graphs, such as onnxruntime"
        )
    bundle = Bundle.open(graph.bundle)
    name = graph.path.name
    if name not in _MAKERS or bundle.files.get(name) != graph.sha256:
        raise EngineError(
            f"{graph.path}: is not what the weights in {graph.bundle} were exported to; torch "
            f"computes {' and '.join(_MAKERS)} of a bundle as they were exported. Take a backend "
            "that runs graphs, such as onnxruntime"
        )
    policy = Policy(PolicyConfig.from_dict(bundle.policy))
    try:
        policy.load_state_dict(load_file(bundle.file(WEIGHTS)))
    except RuntimeError as error:
        raise EngineError(
            f"{bundle.file(WEIGHTS)}: are weights of another policy than bundle.json describes: "
            f"{error}"
        ) from error
    return _MAKERS[name](policy.eval())


def _acting(policy: Policy) -> TorchModule:
    return TorchModule(
        module=Deployed(policy).eval(),
        inputs=graph_inputs(policy.config),
        outputs=OUTPUT_NAMES,
        example=example_inputs(policy.config),
    )


def _grounding(policy: Policy) -> TorchModule:
    return TorchModule(
        module=DeployedGrounding(policy).eval(),
        inputs=GROUND_INPUT_NAMES,
        outputs=GROUND_OUTPUT_NAMES,
        example=example_ground_inputs(policy.config),
    )


_MAKERS: dict[str, Callable[[Policy], TorchModule]] = {GRAPH: _acting, GROUNDING: _grounding}
