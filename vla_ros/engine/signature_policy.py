"""Runs ONNX files with a declared signature, on any engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract.features import STATE
from vla_ros.contract.specs import RobotContract
from vla_ros.core.conventions import MAX_CHARACTERS
from vla_ros.core.engine_report import EngineReport
from vla_ros.core.errors import (
    InferenceFailed,
    InstructionRejected,
    ObservationError,
)
from vla_ros.core.types import ActionChunk, Float32Array, Observation
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.engine import Engine, Graph
from vla_ros.engine.reporting import report
from vla_ros.engine.signature import Denoising, Normalization
from vla_ros.engine.signature_check import (
    require_columns,
    require_graph,
    require_robot,
    step_of,
)
from vla_ros.engine.signature_inputs import (
    Inputs,
    image_input,
    make_tokenizer,
    normalize,
    task_inputs,
)
from vla_ros.engine.signature_reading import read_signature


class SignaturePolicy:
    """A policy of one graph, or of one that sees and one that denoises; not re-entrant."""

    def __init__(
        self,
        source: str | Path,
        contract: RobotContract,
        choice: EngineChoice | None = None,
    ) -> None:
        """Read the signature, load the graphs, and check one against the other.

        Args:
            source: Directory with a `signature.yaml`, or the file.
            contract: Of the robot that it will run on.
            choice: Backends that are to run the graphs; None for ONNX Runtime on one CPU thread.

        Raises:
            BundleError: if a file is missing, or the graphs are not as they are declared.
            ContractError: if the robot lacks what the policy takes or moves.
            EngineError: if no backend of the choice can run the graphs; says why.
        """
        self._signature = signature = read_signature(source)
        require_robot(signature, contract)
        self._joints = contract.action.joints
        self._step_s = signature.step_s or step_of(contract)
        self._tokenizer = make_tokenizer(signature.task) if signature.task else None
        self._sha256 = signature.sha256()
        choice = choice or EngineChoice()
        self._engine = open_engine(Graph(path=signature.graph), choice)
        self._denoiser: Engine | None = None
        try:
            if signature.denoising is not None:
                self._denoiser = open_engine(Graph(path=signature.denoising.graph), choice)
            second = self._denoiser.describe() if self._denoiser else None
            require_graph(signature, self._engine.describe(), second)
            require_columns(signature, self._engine.describe(), len(self._joints))
        except Exception:
            self.close()
            raise
        self._instruction = ""
        self._task: Inputs = {}
        self._noise = np.random.default_rng(0)

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self._signature.name

    @property
    def bundle_sha256(self) -> str:
        """Hash of the signature, the graphs and the tokenizer."""
        return self._sha256

    def report_engines(self) -> tuple[EngineReport, ...]:
        """Return what runs each graph."""
        engines = [self._engine, self._denoiser]
        return tuple(report(engine.describe()) for engine in engines if engine is not None)

    def close(self) -> None:
        """Free what the engines hold."""
        self._engine.close()
        if self._denoiser is not None:
            self._denoiser.close()

    def start(self, instruction: str) -> None:
        """Take a new instruction; the noise begins anew with it.

        Raises:
            InstructionRejected: if it is empty, or longer than the policy reads.
        """
        if not instruction.strip():
            raise InstructionRejected("the instruction is empty")
        if len(instruction) > MAX_CHARACTERS:
            raise InstructionRejected(
                f"the instruction has {len(instruction)} characters; "
                f"at most {MAX_CHARACTERS} are read"
            )
        if self._signature.task is not None and self._tokenizer is not None:
            self._task = task_inputs(self._signature.task, self._tokenizer, instruction)
        self._instruction = instruction
        self._noise = np.random.default_rng(0)

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the chunk for one observation.

        Raises:
            ObservationError: if a feature is missing or malformed; names it.
            InferenceFailed: if the engine brings nothing, or numbers that are not finite.
            RuntimeError: if `start` has not been called.
        """
        if not self._instruction:
            raise RuntimeError("SignaturePolicy.start(instruction) has not been called yet")
        state = self._state(observation)
        inputs = self._inputs(observation, state)
        found = self._denoise(inputs) if self._denoiser else self._ask(inputs)
        action = self._signature.action
        positions = undo(found[0].astype(np.float64), action.normalization)
        positions = positions[:, : len(self._joints)]
        if action.relative_to == "state":
            positions = positions + state.astype(np.float64)
        if not np.isfinite(positions).all():
            raise InferenceFailed(
                f"{self.name}: output '{action.tensor}' holds NaN or infinity for this observation"
            )
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=self._step_s,
            joint_names=self._joints,
            positions=positions,
            instruction=self._instruction,
        )

    def _ask(self, inputs: Inputs) -> Float32Array:
        tensor = self._signature.action.tensor
        found: Float32Array = self._engine.infer(inputs, [tensor])[tensor]
        return found

    def _denoise(self, inputs: Inputs) -> Float32Array:
        """Return what the loop of the second graph makes of noise (1, horizon, width)."""
        stage, denoiser = self._signature.denoising, self._denoiser
        assert stage is not None
        assert denoiser is not None
        cache = self._engine.infer(inputs)  # another engine's: good for the whole loop
        shape = next(s.shape for s in denoiser.describe().inputs if s.name == stage.noisy)
        noisy = self._noise.standard_normal((1, *map(int, shape[1:])), dtype=np.float32)
        return denoise(denoiser, stage, cache, noisy)

    def _state(self, observation: Observation) -> Float32Array:
        state = np.asarray(observation.state, np.float32)
        if state.shape != (len(self._joints),) or not np.isfinite(state).all():
            raise ObservationError(
                STATE, f"expected {len(self._joints)} finite positions, got {observation.state}"
            )
        return state

    def _inputs(self, observation: Observation, state: Float32Array) -> Inputs:
        inputs = dict(self._task)
        for image in self._signature.images:
            camera = image.feature.rpartition(".")[2]
            inputs[image.tensor] = image_input(image, observation.images.get(camera))
        declared = self._signature.state
        if declared is not None:
            inputs[declared.tensor] = normalize(state, declared.normalization)[None]
        return inputs


def denoise(engine: Engine, stage: Denoising, cache: Inputs, noisy: Float32Array) -> Float32Array:
    """Integrate from noise at time 1 to actions at time 0 in Euler steps, as LeRobot does.

    Args:
        engine: Runs the second graph.
        stage: Names of its tensors, and the number of steps.
        cache: What the first graph gave.
        noisy: Noise, shape (batch, horizon, width).
    """
    step = -1.0 / stage.steps
    for index in range(stage.steps):
        time = np.full(len(noisy), 1.0 + index * step, np.float32)
        inputs = {**cache, stage.noisy: noisy, stage.time: time}
        noisy = noisy + np.float32(step) * engine.infer(inputs, [stage.velocity])[stage.velocity]
    return noisy


def undo(value: NDArray[np.float64], normalization: Normalization) -> NDArray[np.float64]:
    """Return actions (horizon, width) as the robot wants them; what is padded is cut off."""
    if not normalization.mean:
        return value
    mean, std = (np.asarray(each) for each in (normalization.mean, normalization.std))
    with np.errstate(over="ignore"):  # what is not finite is refused after this
        undone: NDArray[np.float64] = value[:, : len(mean)] * std + mean
    return undone


def open_policy(source: str, contract: RobotContract, choice: EngineChoice) -> SignaturePolicy:
    """Open graphs with a declared signature for a robot."""
    return SignaturePolicy(source, contract, choice)
