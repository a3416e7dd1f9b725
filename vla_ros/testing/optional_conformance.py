"""What a policy must do that offers more than `Policy`: mixins beside `PolicyConformance`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vla_ros.contract import RobotContract
from vla_ros.core.demonstration import Demonstration
from vla_ros.core.errors import ObservationError, UserError
from vla_ros.core.protocols import Attentive, Closable, Noticing, Promptable, Reporting
from vla_ros.core.types import ActionChunk, Observation
from vla_ros.testing.observations import make_observation

FRAME_NS = 50_000_000


class _Offers(ABC):
    """A policy that offers something, and what it needs.

    `make_policy` is typed loosely: a policy that offers several of these has several types.
    """

    instruction = "pick up the red cube"

    @abstractmethod
    def make_policy(self) -> Any:
        """Return the policy, not started."""

    @abstractmethod
    def make_contract(self) -> RobotContract:
        """Return the contract that the policy was made for."""

    def _started(self) -> Any:
        policy = self.make_policy()
        policy.start(self.instruction)
        return policy


class AttentiveConformance(_Offers):
    """Of policies that show what they look at."""

    def test_it_draws_over_a_copy_of_every_camera_that_it_reads(self) -> None:
        """What is published elsewhere must not have heat drawn over it."""
        assert isinstance(self.make_policy(), Attentive)
        policy, observation = self._started(), make_observation(self.make_contract())
        policy.infer(observation)
        before = {name: image.tobytes() for name, image in observation.images.items()}
        drawn = {name: policy.draw_attention(observation, name) for name in observation.images}
        assert {name: image.tobytes() for name, image in observation.images.items()} == before
        for camera, image in drawn.items():
            assert image is not None
            assert image.dtype == np.uint8
            assert image.shape[-1] == 3, camera

    def test_of_a_camera_that_it_does_not_read_there_is_no_picture(self) -> None:
        """A robot may have more cameras than the policy."""
        policy, observation = self._started(), make_observation(self.make_contract())
        policy.infer(observation)
        assert policy.draw_attention(observation, "nowhere") is None

    def test_drawing_changes_no_chunk(self) -> None:
        """Somebody who watches must not change what is done."""
        chunks = []
        for watched in (False, True):
            policy, observation = self._started(), make_observation(self.make_contract())
            policy.infer(observation)
            if watched:
                policy.draw_attention(observation, next(iter(observation.images)))
            chunks.append(policy.infer(_after(observation)))
        _require_same(*chunks)


class ReportingConformance(_Offers):
    """Of policies that say what runs them."""

    def test_it_says_what_runs_each_graph_before_and_while_it_infers(self) -> None:
        """Diagnostics ask at any time, from another thread."""
        assert isinstance(self.make_policy(), Reporting)
        policy = self._started()
        before = policy.report_engines()
        policy.infer(make_observation(self.make_contract()))
        assert policy.report_engines() == before
        assert len({report.graph for report in before}) == len(before) > 0
        for report in before:
            assert report.runs, report.graph
            assert report.fallback == "", report.graph


class ClosableConformance(_Offers):
    """Of policies that free what they hold."""

    def test_closing_one_policy_leaves_another_alone(self) -> None:
        """A policy is replaced while its successor runs already."""
        assert isinstance(self.make_policy(), Closable)
        observation = make_observation(self.make_contract())
        gone, kept, alone = self._started(), self._started(), self._started()
        gone.infer(observation)
        gone.close()
        _require_same(kept.infer(observation), alone.infer(observation))

    def test_a_policy_can_be_closed_that_never_inferred(self) -> None:
        """One may be loaded, and replaced before its turn came."""
        self.make_policy().close()


class NoticingConformance(_Offers):
    """Of policies that have a past without an inference each time."""

    def test_what_was_noticed_counts_as_what_was_seen(self) -> None:
        """Velocities are told from it."""
        assert isinstance(self.make_policy(), Noticing)
        chunks = []
        for name in ("notice", "infer"):
            policy, observation = self._started(), make_observation(self.make_contract())
            policy.infer(observation)
            moved = _after(observation, by_rad=0.02)
            getattr(policy, name)(moved)
            chunks.append(policy.infer(_after(moved, by_rad=0.02)))
        np.testing.assert_allclose(chunks[0].positions, chunks[1].positions, atol=1e-3)

    def test_a_state_that_is_not_finite_is_refused(self) -> None:
        """It would be believed later."""
        policy, observation = self._started(), make_observation(self.make_contract())
        state = observation.state.copy()
        state[0] = np.nan
        with pytest.raises(ObservationError, match=r"observation\.state"):
            policy.notice(replace(observation, state=state))


class PromptableConformance(_Offers):
    """Of policies that can be shown what words mean."""

    @abstractmethod
    def make_demonstrations(self) -> Sequence[Demonstration]:
        """Return two demonstrations or more that the policy takes."""

    def test_an_empty_prompt_is_as_none(self) -> None:
        """What is forgotten changes nothing, bit for bit."""
        observation = make_observation(self.make_contract())
        assert isinstance(self.make_policy(), Promptable)
        never, forgot = self.make_policy(), self.make_policy()
        forgot.show(self.make_demonstrations())
        forgot.show(())
        chunks = []
        for policy in (never, forgot):
            policy.start(self.instruction)
            chunks.append(policy.infer(observation))
        _require_same(*chunks)

    def test_the_instruction_under_way_keeps_what_it_meant(self) -> None:
        """A prompt counts from the next start on."""
        observation = make_observation(self.make_contract())
        chunks = []
        for shown in ((), self.make_demonstrations()):
            policy = self._started()
            policy.infer(observation)
            policy.show(shown)
            chunks.append(policy.infer(_after(observation)))
        _require_same(*chunks)

    def test_a_demonstration_without_images_is_refused_and_the_prompt_before_stays(self) -> None:
        """Half a prompt would mean something else."""
        observation = make_observation(self.make_contract())
        first, *_ = self.make_demonstrations()
        bad = replace(first, observation=replace(first.observation, images={}))
        chunks = []
        for tries in (False, True):
            policy = self.make_policy()
            policy.show([first])
            if tries:
                with pytest.raises((UserError, ObservationError)):
                    policy.show([first, bad])
            policy.start(self.instruction)
            chunks.append(policy.infer(observation))
        _require_same(*chunks)


def _after(observation: Observation, by_rad: float = 0.0) -> Observation:
    """Return the same a frame later, the joints a little further."""
    return replace(
        observation,
        stamp_ns=observation.stamp_ns + FRAME_NS,
        state=observation.state + np.float32(by_rad),
    )


def _require_same(one: ActionChunk, other: ActionChunk) -> None:
    np.testing.assert_array_equal(one.positions, other.positions)
    assert (one.progress, one.grounding) == (other.progress, other.grounding)
