"""Observations that fit a contract, and the check that one does."""

from __future__ import annotations

import numpy as np

from vla_ros.contract import FeatureKind, ObservationSpec, RobotContract
from vla_ros.core.conventions import IMU_WINDOW
from vla_ros.core.errors import ObservationError
from vla_ros.core.types import FloatArray, Observation


def make_observation(
    contract: RobotContract,
    *,
    stamp_ns: int = 1_000_000_000,
    state: FloatArray | None = None,
    seed: int = 0,
) -> Observation:
    """Return an observation with every sensor of the contract, filled with noise.

    Args:
        contract: What there is, and how large.
        stamp_ns: Stamp in [ns].
        state: Joint positions in [rad], shape (n,); None for the home pose.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)
    specs = {kind: [s for s in contract.observations if s.kind is kind] for kind in FeatureKind}
    return Observation(
        stamp_ns=stamp_ns,
        images={
            spec.camera: rng.integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
            for spec in specs[FeatureKind.IMAGE]
        },
        depths={
            spec.camera: rng.uniform(0.1, 1.0, (spec.height, spec.width)).astype(np.float32)
            for spec in specs[FeatureKind.DEPTH]
        },
        imu=rng.normal(size=(IMU_WINDOW, 6)).astype(np.float32)
        if specs[FeatureKind.IMU]
        else None,
        state=np.asarray(contract.home if state is None else state, dtype=np.float32),
    )


def check_observation(contract: RobotContract, observation: Observation) -> None:
    """Check an observation against the contract.

    Raises:
        ObservationError: if something required is missing, or anything is malformed; names it.
    """
    for spec in contract.observations:
        _check_feature(spec, observation)
    size = len(contract.action.joints)
    state = observation.state
    if state.shape != (size,) or not np.isfinite(state).all():
        raise ObservationError("observation.state", f"expected {size} finite numbers, got {state}")


def _check_feature(spec: ObservationSpec, observation: Observation) -> None:
    if spec.kind is FeatureKind.STATE:
        return
    value = {
        FeatureKind.IMAGE: observation.images.get(spec.camera),
        FeatureKind.DEPTH: observation.depths.get(spec.camera),
        FeatureKind.IMU: observation.imu,
    }[spec.kind]
    if value is None:
        if spec.required:
            raise ObservationError(spec.feature, f"missing; {spec.topic} is required")
        return
    shape, dtype = {
        FeatureKind.IMAGE: ((spec.height, spec.width, 3), "uint8"),
        FeatureKind.DEPTH: ((spec.height, spec.width), "float32"),
        FeatureKind.IMU: ((IMU_WINDOW, 6), "float32"),
    }[spec.kind]
    if value.shape != shape or value.dtype != dtype:
        raise ObservationError(
            spec.feature, f"expected {dtype} {shape}, got {value.dtype} {value.shape}"
        )
    if spec.kind is FeatureKind.IMU and not np.isfinite(value).all():
        raise ObservationError(spec.feature, "holds a value that is not finite")
