"""Asks a policy server that speaks openpi's protocol; a bad answer is none, and the gate holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from vla_ros.contract.features import STATE, TASK, FeatureKind
from vla_ros.contract.specs import RobotContract
from vla_ros.core.engine_report import EngineReport
from vla_ros.core.errors import (
    EngineError,
    InferenceFailed,
    InstructionRejected,
    ObservationError,
)
from vla_ros.core.types import ActionChunk, FloatArray, Observation
from vla_ros.engine.choice import EngineChoice
from vla_ros.engine.openpi_link import OpenPiLink
from vla_ros.engine.openpi_settings import OpenPiSettings
from vla_ros.engine.signature_check import step_of

ACTIONS = "actions"


class OpenPiPolicy:
    """A policy behind a websocket; `infer` is not re-entrant and takes `deadline_s` at most twice.

    What the server's weights are is not part of the protocol: the hash is that of the address, the
    settings and what the server says of itself.
    """

    def __init__(self, source: str, contract: RobotContract) -> None:
        """Connect to the server.

        Args:
            source: `ws://host:port`, or a YAML file; see `OpenPiSettings`.
            contract: Of the robot that it is asked for.

        Raises:
            UserError: if the source is neither.
            ContractError: if the robot lacks what the server wants.
            EngineError: if the server is not there.
        """
        self._settings = settings = OpenPiSettings.read(source)
        self._keys = settings.keys_for(contract)
        self._shapes = {
            spec.feature: (spec.height, spec.width, 3)
            for spec in contract.observations
            if spec.kind is FeatureKind.IMAGE
        }
        self._joints = contract.action.joints
        self._step_s = settings.step_s or step_of(contract)
        self._link = OpenPiLink(settings.address, settings.deadline_s)
        try:
            self._link.connect()
        except InferenceFailed as error:
            raise EngineError(
                f"openpi: {error.reason}; start the server, or name another one"
            ) from error
        self._instruction = ""
        self._rows = 0

    @property
    def name(self) -> str:
        """The server's address."""
        return self._settings.address

    @property
    def bundle_sha256(self) -> str:
        """Hash of the address, the settings, and what the server says of itself."""
        said = repr(sorted(self._link.metadata.items(), key=repr))
        known = f"{self._settings.address} {sorted(self._keys.items())} {said}"
        return hashlib.sha256(known.encode()).hexdigest()

    def report_engines(self) -> tuple[EngineReport, ...]:
        """Return which server is asked, and how often it had to be connected to."""
        runs = f"openpi, {self._link.connections} connection(s) so far"
        return (EngineReport(graph=self._settings.address, runs=runs),)

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def start(self, instruction: str) -> None:
        """Take a new instruction.

        Raises:
            InstructionRejected: if it is empty.
        """
        if not instruction.strip():
            raise InstructionRejected("the instruction is empty")
        self._instruction = instruction

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the chunk for one observation.

        Raises:
            ObservationError: if a feature is missing or malformed; names it.
            InferenceFailed: if the server is late, absent, or answers short, malformed or with
                numbers that are not finite; says which.
            RuntimeError: if `start` has not been called.
        """
        if not self._instruction:
            raise RuntimeError("OpenPiPolicy.start(instruction) has not been called yet")
        question = {key: self._value(feature, observation) for key, feature in self._keys.items()}
        positions = self._positions(self._link.ask(question))
        if self._settings.relative_to == "state":
            positions = positions + observation.state.astype(np.float64)
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=self._step_s,
            joint_names=self._joints,
            positions=positions,
            instruction=self._instruction,
        )

    def _value(self, feature: str, observation: Observation) -> Any:
        if feature == TASK:
            return self._instruction
        if feature == STATE:
            state = np.asarray(observation.state, np.float32)
            if state.shape != (len(self._joints),) or not np.isfinite(state).all():
                raise ObservationError(
                    STATE, f"expected {len(self._joints)} finite positions, got {state}"
                )
            return state
        image, shape = observation.images.get(feature.rpartition(".")[2]), self._shapes[feature]
        if image is None:
            raise ObservationError(feature, "is missing, and the server wants it")
        if image.shape != shape or image.dtype != np.uint8:
            raise ObservationError(
                feature,
                f"expected uint8 of shape {shape}, got {image.dtype} of shape {image.shape}",
            )
        return image

    def _positions(self, answer: Mapping[Any, Any]) -> FloatArray:
        """Return the actions of an answer (horizon, n), if they may be executed."""
        actions, joints = answer.get(ACTIONS), len(self._joints)
        if actions is None:
            self._refuse(f"no '{ACTIONS}' in the answer, only {', '.join(map(str, answer))}")
        if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "iuf":
            self._refuse(f"'{ACTIONS}' is {type(actions).__name__}, expected an array of numbers")
        if actions.ndim != 2 or actions.shape[1] != joints or not len(actions):
            self._refuse(f"'{ACTIONS}' has shape {actions.shape}, expected (horizon, {joints})")
        if not np.isfinite(actions).all():
            rows = np.flatnonzero(~np.isfinite(actions).all(axis=1))
            self._refuse(f"'{ACTIONS}' holds NaN or infinity, first in row {rows[0]}")
        if len(actions) < self._rows:
            self._refuse(f"'{ACTIONS}' has {len(actions)} rows, {self._rows} before: cut short")
        self._rows = len(actions)
        positions: FloatArray = actions.astype(np.float64)
        return positions

    def _refuse(self, reason: str) -> NoReturn:
        raise InferenceFailed(f"{self._settings.address}: {reason}")


def open_policy(source: str, contract: RobotContract, choice: EngineChoice) -> OpenPiPolicy:
    """Open a policy server for a robot.

    Raises:
        EngineError: if other backends are to take over, which have no graph to run.
    """
    if len(choice.backends) > 1:
        raise EngineError(
            f"fallback: '{choice.backends[1]}' cannot take over from a policy server, which has "
            "no graph here; the gate holds while the server is away"
        )
    return OpenPiPolicy(source, contract)
