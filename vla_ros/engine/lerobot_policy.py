"""Runs a LeRobot policy checkpoint through LeRobot itself, with its own processors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vla_ros.contract.features import IMAGES, STATE, FeatureKind
from vla_ros.contract.specs import RobotContract
from vla_ros.core.engine_report import EngineReport
from vla_ros.core.errors import (
    EngineError,
    InferenceFailed,
    InstructionRejected,
    ObservationError,
)
from vla_ros.core.types import ActionChunk, Observation
from vla_ros.engine.choice import EngineChoice
from vla_ros.engine.lerobot_checkpoint import load_checkpoint
from vla_ros.engine.lerobot_features import require_fit
from vla_ros.engine.signature_check import step_of
from vla_ros.policy.bundle import file_sha256


class LeRobotPolicy:
    """Any policy that the installed LeRobot knows; `infer` is not re-entrant.

    It gives the whole chunk that the policy predicts, where LeRobot's `select_action` would hand
    out one action at a time. Sampling begins anew with every instruction, so that a run can be
    repeated.
    """

    def __init__(self, source: str, contract: RobotContract, *, device: str = "") -> None:
        """Load the checkpoint and check it against the robot.

        Args:
            source: Directory of a checkpoint, or its id on the Hugging Face hub.
            contract: Of the robot that it will run on.
            device: Of torch; "" for what the checkpoint names, or what there is.

        Raises:
            BundleError: if LeRobot cannot load it; says why.
            ContractError: if the robot lacks what the policy takes or moves.
            EngineError: if LeRobot is not installed.
        """
        self._checkpoint = load_checkpoint(source, device)
        self._cameras = require_fit(self._checkpoint, contract)
        self._sizes = {
            spec.camera: (spec.height, spec.width, 3)
            for spec in contract.observations
            if spec.kind is FeatureKind.IMAGE
        }
        self._joints = contract.action.joints
        fps = self._checkpoint.fps
        self._step_s = 1.0 / fps if fps else step_of(contract)
        self._sha256 = _hash(self._checkpoint.directory)
        self._instruction = ""
        self._sampling = torch.get_rng_state()

    @property
    def name(self) -> str:
        """Name of the checkpoint's folder, or its hub id."""
        source = self._checkpoint.source
        return Path(source).resolve().name if Path(source).exists() else source

    @property
    def bundle_sha256(self) -> str:
        """Hash of the checkpoint's configurations and weights."""
        return self._sha256

    def report_engines(self) -> tuple[EngineReport, ...]:
        """Return the kind of policy and what runs it."""
        config = self._checkpoint.config
        kind = next(self._checkpoint.policy.parameters()).dtype
        return (
            EngineReport(
                graph=config.type,
                runs=f"lerobot torch {torch.__version__}, {str(kind)[6:]} on {config.device}",
            ),
        )

    def close(self) -> None:
        """Leave the policy to the garbage collector."""
        del self._checkpoint

    def start(self, instruction: str) -> None:
        """Take a new instruction, and forget what was observed before it.

        Raises:
            InstructionRejected: if it is empty.
        """
        if not instruction.strip():
            raise InstructionRejected("the instruction is empty")
        self._instruction = instruction
        self._checkpoint.policy.reset()
        self._checkpoint.preprocess.reset()
        self._checkpoint.postprocess.reset()
        self._sampling = torch.Generator().manual_seed(0).get_state()

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the chunk for one observation.

        Raises:
            ObservationError: if a feature is missing or malformed; names it.
            InferenceFailed: if the policy raises, or gives numbers that are not finite.
            RuntimeError: if `start` has not been called.
        """
        if not self._instruction:
            raise RuntimeError("LeRobotPolicy.start(instruction) has not been called yet")
        frame = self._frame(observation)
        try:
            positions = self._predict(frame)
        except Exception as error:
            raise InferenceFailed(f"{self.name}: LeRobot: {error!r}") from error
        if positions.shape[1:] != (len(self._joints),) or not np.isfinite(positions).all():
            raise InferenceFailed(
                f"{self.name}: expected finite targets of {len(self._joints)} joints, got shape "
                f"{positions.shape} with {np.isfinite(positions).mean():.0%} finite"
            )
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=self._step_s,
            joint_names=self._joints,
            positions=positions,
            instruction=self._instruction,
        )

    def _frame(self, observation: Observation) -> dict[str, Any]:
        """Return what LeRobot's processors take: images from 0 to 1, channels first."""
        state = np.array(observation.state, np.float32)
        if state.shape != (len(self._joints),) or not np.isfinite(state).all():
            raise ObservationError(
                STATE, f"expected {len(self._joints)} finite positions, got {observation.state}"
            )
        frame: dict[str, Any] = {STATE: torch.from_numpy(state), "task": self._instruction}
        for camera in self._cameras:
            image, shape = observation.images.get(camera), self._sizes[camera]
            if image is None:
                raise ObservationError(f"{IMAGES}{camera}", "is missing, and the policy takes it")
            if image.shape != shape or image.dtype != np.uint8:
                raise ObservationError(
                    f"{IMAGES}{camera}",
                    f"expected uint8 of shape {shape}, got {image.dtype} of shape {image.shape}",
                )
            pixels = torch.tensor(image)  # a copy: what is sensed may be read-only
            frame[f"{IMAGES}{camera}"] = pixels.permute(2, 0, 1).float() / 255
        return frame

    def _predict(self, frame: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        before = torch.get_rng_state()
        torch.set_rng_state(self._sampling)
        try:
            with torch.inference_mode():
                batch = self._checkpoint.preprocess(frame)
                chunk = self._checkpoint.postprocess(predict_chunk(self._checkpoint.policy, batch))
        finally:
            self._sampling = torch.get_rng_state()
            torch.set_rng_state(before)
        return np.asarray(chunk[0].double().cpu().numpy())


def predict_chunk(policy: Any, batch: dict[str, Any]) -> Tensor:
    """Return the whole chunk (1, horizon, n) that a policy predicts for a batch.

    A policy that looks at several observations keeps them itself, and only its `select_action`
    knows how. So that is called, with no action left to hand out, and the chunk that it predicts
    is taken on the way.
    """
    queues = getattr(policy, "_queues", {})
    if set(queues) <= {"action"}:
        chunk: Tensor = policy.predict_action_chunk(batch)
        return chunk
    predicted: list[Tensor] = []
    predict = policy.predict_action_chunk

    def taken(*arguments: Any, **named: Any) -> Tensor:
        predicted.append(predict(*arguments, **named))
        return predicted[-1]

    queues["action"].clear()
    policy.predict_action_chunk = taken
    try:
        policy.select_action(batch)
    finally:
        del policy.predict_action_chunk
    return predicted[-1]


def open_policy(source: str, contract: RobotContract, choice: EngineChoice) -> LeRobotPolicy:
    """Open a checkpoint for a robot; `lerobot:cuda` names the device.

    Raises:
        EngineError: if other backends are to take over, which cannot run a checkpoint.
    """
    if len(choice.backends) > 1:
        raise EngineError(
            f"fallback: '{choice.backends[1]}' cannot take over from LeRobot, which runs no graph"
        )
    torch.set_num_threads(choice.threads)
    return LeRobotPolicy(source, contract, device=choice.backends[0].partition(":")[2])


def _hash(directory: Path) -> str:
    files = sorted({*directory.glob("*.json"), *directory.glob("*.safetensors")})
    text = "\n".join(f"{file.name} {file_sha256(file)}" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()
