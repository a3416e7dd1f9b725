"""What every policy must do: subclass `PolicyConformance` in a test file of the policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vla_ros.contract import FeatureKind, RobotContract
from vla_ros.core.errors import ObservationError
from vla_ros.core.protocols import Policy
from vla_ros.core.types import Observation
from vla_ros.testing.observations import make_observation


class PolicyConformance(ABC):
    """The tests; a subclass says what is tested and under which contract.

    Attributes:
        instruction: One that the policy understands.
    """

    instruction = "pick up the red cube"

    @abstractmethod
    def make_policy(self) -> Policy:
        """Return the policy, not started."""

    @abstractmethod
    def make_contract(self) -> RobotContract:
        """Return the contract that the policy was made for."""

    @pytest.fixture
    def policy(self) -> Policy:
        """The policy, started."""
        policy = self.make_policy()
        policy.start(self.instruction)
        return policy

    @pytest.fixture
    def observation(self) -> Observation:
        """A complete observation."""
        return make_observation(self.make_contract())

    def test_it_is_a_policy_with_a_name_and_a_hash(self, policy: Policy) -> None:
        """Results name what made them."""
        assert isinstance(policy, Policy)
        assert policy.name
        assert len(bytes.fromhex(policy.bundle_sha256)) == 32

    def test_a_chunk_is_stamped_as_its_observation_and_well_formed(
        self, policy: Policy, observation: Observation
    ) -> None:
        """The gate executes by these values."""
        chunk = policy.infer(observation)
        joints = self.make_contract().action.joints
        assert chunk.stamp_ns == observation.stamp_ns
        assert chunk.joint_names == joints
        assert chunk.positions.shape == (chunk.horizon, len(joints))
        assert chunk.positions.dtype == np.float64
        assert chunk.horizon >= 1
        assert chunk.step_s > 0.0
        assert np.isfinite(chunk.positions).all()
        assert 0.0 <= chunk.progress <= 1.0
        assert 0.0 <= chunk.grounding <= 1.0
        assert chunk.instruction == self.instruction

    def test_an_observation_is_not_changed(self, policy: Policy, observation: Observation) -> None:
        """Others, the recorder above all, see the same arrays."""
        arrays: list[NDArray[Any]] = [observation.state]
        arrays += [*observation.images.values(), *observation.depths.values()]
        before = [array.tobytes() for array in arrays]
        policy.infer(observation)
        assert [array.tobytes() for array in arrays] == before

    def test_after_a_start_the_same_observation_gives_the_same_chunk(
        self, policy: Policy, observation: Observation
    ) -> None:
        """A start forgets everything."""
        first = policy.infer(observation)
        policy.infer(replace(observation, stamp_ns=observation.stamp_ns + 50_000_000))
        policy.start(self.instruction)
        again = policy.infer(observation)
        np.testing.assert_allclose(again.positions, first.positions, atol=1e-6)
        assert again.progress == pytest.approx(first.progress, abs=1e-6)

    def test_without_a_required_camera_there_is_no_chunk_and_the_camera_is_named(
        self, policy: Policy, observation: Observation
    ) -> None:
        """Nothing is filled with zeros."""
        for spec in self.make_contract().observations:
            if spec.kind is FeatureKind.IMAGE and spec.required:
                images = {k: v for k, v in observation.images.items() if k != spec.camera}
                with pytest.raises(ObservationError) as caught:
                    policy.infer(replace(observation, images=images))
                assert caught.value.source == spec.feature

    def test_without_optional_sensors_it_still_acts(
        self, policy: Policy, observation: Observation
    ) -> None:
        """A missing optional modality is masked."""
        specs = [spec for spec in self.make_contract().observations if not spec.required]
        kept = {
            spec.camera: observation.depths[spec.camera]
            for spec in self.make_contract().observations
            if spec.kind is FeatureKind.DEPTH and spec.required
        }
        less = replace(observation, depths=kept)
        if any(spec.kind is FeatureKind.IMU for spec in specs):
            less = replace(less, imu=None)
        assert np.isfinite(policy.infer(less).positions).all()

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_state_that_is_not_finite_is_refused(
        self, policy: Policy, observation: Observation, bad: float
    ) -> None:
        """NaN in, NaN out is no answer."""
        state = observation.state.copy()
        state[0] = bad
        with pytest.raises(ObservationError, match=r"observation\.state"):
            policy.infer(replace(observation, state=state))

    def test_an_image_of_another_size_is_refused_and_named(
        self, policy: Policy, observation: Observation
    ) -> None:
        """A policy never resizes silently: the contract says what it gets."""
        camera, image = next(iter(observation.images.items()))
        images = {**observation.images, camera: image[:-2]}
        with pytest.raises(ObservationError) as caught:
            policy.infer(replace(observation, images=images))
        assert caught.value.source == f"observation.images.{camera}"
