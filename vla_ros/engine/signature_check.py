"""Checks a declared signature against the graphs it speaks of, and against a robot's contract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vla_ros.contract.features import STATE, FeatureKind
from vla_ros.contract.specs import RobotContract
from vla_ros.core.errors import BundleError, ContractError
from vla_ros.engine.engine import EngineDescription, TensorSpec
from vla_ros.engine.signature import Signature

#: What a declared tensor must be: name, type, and shape without the batch; None: any length.
Wanted = tuple[str, str, tuple[int | None, ...]]


def require_graph(
    signature: Signature, first: EngineDescription, second: EngineDescription | None
) -> None:
    """Check that the graphs have the declared tensors, and want no others.

    Args:
        signature: What is declared.
        first: What runs the only graph, or the first of two.
        second: What runs the second graph.

    Raises:
        BundleError: naming each tensor that is not as it is declared, with what there is.
    """
    faults = [*_faults(tuple(_inputs(signature)), first.inputs, first.graph, "input")]
    if signature.denoising is None or second is None:
        wanted: Wanted = (signature.action.tensor, "float32", (None, None))
        faults += _faults((wanted,), first.outputs, first.graph, "output", closed=False)
    else:
        stage = signature.denoising
        given = [_as_wanted(spec) for spec in first.outputs]
        own: list[Wanted] = [(stage.noisy, "float32", (None, None)), (stage.time, "float32", ())]
        taken = {spec.name for spec in second.inputs}
        kept = [wanted for wanted in given if wanted[0] in taken]
        faults += _faults((*own, *kept), second.inputs, second.graph, "input")
        velocity: Wanted = (stage.velocity, "float32", (None, None))
        faults += _faults((velocity,), second.outputs, second.graph, "output", closed=False)
    if faults:
        raise BundleError(
            f"{signature.file}: it does not say what the graphs are:\n  " + "\n  ".join(faults)
        )


def require_robot(signature: Signature, contract: RobotContract) -> None:
    """Check that a robot has what the policy takes and moves.

    Raises:
        ContractError: naming each feature that the robot lacks or has otherwise.
    """
    there = {spec.feature: spec for spec in contract.observations}
    names = ", ".join(there)
    faults = []
    for image in signature.images:
        spec = there.get(image.feature)
        if spec is None:
            faults.append(f"{image.feature}: the robot has none; it has {names}")
        elif (spec.width, spec.height) != (image.width, image.height):
            faults.append(
                f"{image.feature}: the policy takes {image.width}x{image.height} px, "
                f"the robot has {spec.width}x{spec.height} px"
            )
    joints = contract.action.joints
    if signature.joints and signature.joints != joints:
        faults.append(
            f"joints: the policy moves {', '.join(signature.joints)}; the robot has "
            f"{', '.join(joints)}, and the order counts"
        )
    for what, normalization in _per_joint(signature):
        if normalization and normalization != len(joints):
            faults.append(
                f"{what}: {normalization} numbers normalize it, the robot has {len(joints)} joints"
            )
    if faults:
        raise ContractError(
            f"{signature.file}: the policy cannot serve '{contract.name}':\n  "
            + "\n  ".join(faults)
        )


def require_columns(signature: Signature, first: EngineDescription, joints: int) -> None:
    """Check that the graph's state and actions have a column for each joint of the robot.

    Raises:
        ContractError: naming the tensor with another number of columns.
    """
    tensors = [(signature.state.tensor, first.inputs)] if signature.state else []
    if signature.denoising is None:
        tensors.append((signature.action.tensor, first.outputs))
    for name, specs in tensors:
        columns = next(spec.shape[-1] for spec in specs if spec.name == name)
        if isinstance(columns, int) and columns != joints:
            raise ContractError(
                f"{signature.file}: tensor '{name}' has {columns} columns, the robot {joints} "
                "joints; use a policy that was made for this robot"
            )


def _per_joint(signature: Signature) -> Iterator[tuple[str, int]]:
    yield "action", len(signature.action.normalization.mean)
    if signature.state is not None:
        yield STATE, len(signature.state.normalization.mean)


def _inputs(signature: Signature) -> Iterator[Wanted]:
    for image in signature.images:
        yield image.tensor, image.dtype, image.shape
    if signature.state is not None:
        yield signature.state.tensor, "float32", (None,)
    if signature.task is not None:
        yield signature.task.tensor, "int64", (signature.task.length,)
        if signature.task.mask:
            yield signature.task.mask, "bool", (signature.task.length,)


def _as_wanted(spec: TensorSpec) -> Wanted:
    return (
        spec.name,
        spec.dtype,
        tuple(size if isinstance(size, int) else None for size in spec.shape[1:]),
    )


def _faults(
    wanted: Sequence[Wanted],
    specs: Sequence[TensorSpec],
    graph: str,
    what: str,
    *,
    closed: bool = True,
) -> Iterator[str]:
    there = {spec.name: spec for spec in specs}
    for name, dtype, shape in wanted:
        spec = there.get(name)
        if spec is None:
            yield f"{graph} has no {what} '{name}'; there are {', '.join(there)}"
        elif spec.dtype != dtype or not _fits(spec.shape[1:], shape):
            lengths = ", ".join("any" if size is None else str(size) for size in shape)
            yield (
                f"{graph}: {what} '{name}' is {spec.dtype} of shape {spec.shape}, declared is "
                f"{dtype} of shape (batch, {lengths})"
            )
    for name in there.keys() - {each[0] for each in wanted} if closed else ():
        yield f"{graph}: {what} '{name}' is not declared, and the graph wants it"


def _fits(shape: Sequence[int | str], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        size is None or isinstance(length, str) or length == size
        for length, size in zip(shape, wanted, strict=True)
    )


def step_of(contract: RobotContract) -> float:
    """Return the time between two observations in [s]: the period of the robot's first camera.

    A dataset has a frame for each of that camera's images, so that a policy that learned from it
    plans in such steps.

    Raises:
        ContractError: if the robot has no camera.
    """
    for spec in contract.observations:
        if spec.kind is FeatureKind.IMAGE:
            return 1.0 / spec.rate_hz
    raise ContractError(
        f"{contract.name}: has no camera whose rate would say how far apart the rows of a chunk "
        "are; declare step_s with the policy"
    )
