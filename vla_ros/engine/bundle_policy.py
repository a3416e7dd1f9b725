"""Runs a policy bundle: what is sensed goes in, its graphs are asked, a chunk comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_ros.contract.difference import require_compatible
from vla_ros.contract.features import FeatureKind
from vla_ros.contract.specs import RobotContract
from vla_ros.core.demonstration import Demonstration
from vla_ros.core.engine_report import EngineReport
from vla_ros.core.errors import BundleError, ObservationError, UserError
from vla_ros.core.types import ActionChunk, ChunkPrefix, FloatArray, Observation, UInt8Array
from vla_ros.engine.attention_overlay import draw_attention, marks_of
from vla_ros.engine.camera_inputs import camera_inputs, checked
from vla_ros.engine.choice import EngineChoice, open_engine
from vla_ros.engine.clouds import cloud_inputs, cloud_maker
from vla_ros.engine.engine import Engine, EngineDescription, Graph
from vla_ros.engine.grounding import Grounding, GroundingSession
from vla_ros.engine.joint_history import JointHistory
from vla_ros.engine.language import LanguageEncoder
from vla_ros.engine.language_check import require_language
from vla_ros.engine.prefix_inputs import prefix_inputs, prefix_parts
from vla_ros.engine.reporting import report
from vla_ros.observation.array_pool import ArrayPool
from vla_ros.policy.bundle import DESCRIPTION, GRAPH, GROUNDING, LANGUAGE, TOKENIZER, Bundle
from vla_ros.policy.configuration import CAMERAS, PolicyConfig

Float32Array = NDArray[np.float32]
#: Makes a loaded and warm engine of a graph.
OpenGraph = Callable[[Graph, EngineChoice], Engine]

#: What is seen does not depend on words, and the graph wants some.
ANYTHING = "look"
#: A point seen with this confidence is where the thing stands when the instruction comes.
ANCHOR_CONFIDENCE = 0.5


class BundlePolicy:
    """A bundle's policy. One instruction at a time; `infer` is not re-entrant."""

    def __init__(
        self,
        directory: str | Path,
        contract: RobotContract | None = None,
        choice: EngineChoice | None = None,
        open_graph: OpenGraph = open_engine,
    ) -> None:
        """Check and load the bundle.

        Args:
            directory: The bundle.
            contract: Of the robot that it will run on; None for the one it was trained under.
            choice: Backends that are to run its graphs; None for ONNX Runtime on one CPU thread.
            open_graph: Opens each graph; something else than usual to time or to watch engines.

        Raises:
            BundleError: if a file is missing or corrupted.
            EngineError: if no backend of the choice can run the graphs; says why.
            ContractError: if the bundle was trained under a contract that differs; names how.
        """
        self._bundle = Bundle.open(directory)
        trained = RobotContract.from_dict(self._bundle.contract)
        if contract is not None:
            require_compatible(trained, contract)
        self._required = tuple(
            spec for spec in (contract or trained).observations if spec.required
        )
        self._config = _read_config(self._bundle)
        self._joints = trained.limits.names
        for name in (LANGUAGE, TOKENIZER):
            self._bundle.file(name)  # nothing is loaded whose hash was not checked
        self._language = LanguageEncoder(self._bundle.directory)
        require_language(self._language, self._config, self._bundle.directory)
        self._clouds = cloud_maker(self._config)
        self._choice, self._open_graph = choice or EngineChoice(), open_graph
        with ExitStack() as undo:  # a GPU's memory is not freed by what is merely forgotten
            self._engine = self._open(GRAPH)
            undo.callback(self._engine.close)
            grounds = self._open(GROUNDING)
            undo.callback(grounds.close)
            self._grounder = GroundingSession(grounds)
            #: What of a prefix it heeds, see `Continuing`.
            self.prefix_parts = prefix_parts(self._engine)
            undo.pop_all()
        self._pool = ArrayPool()
        self._instruction = ""
        self._anchor = np.zeros((1, 2, 4), np.float32)
        self._joints_seen = JointHistory(self._config.n_joints)
        #: Attention over the front and wrist images of the last inference, (queries, 32, 32).
        self.attention: dict[str, Float32Array] = {}
        #: Where object and target were seen last, (2, 4): xyz [m] in the base frame, confidence.
        self.points: Float32Array = np.zeros((2, 4), np.float32)
        #: What the graph that acts was given last, by input; empty before the first inference.
        self.inputs: dict[str, NDArray[np.generic]] = {}

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self._bundle.name

    @property
    def bundle_sha256(self) -> str:
        """Hash of the bundle's description, and thereby of all its files."""
        return self._bundle.sha256

    def engines(self) -> tuple[EngineDescription, ...]:
        """Return what runs the graph that acts, and the one that grounds."""
        return self._engine.describe(), self._grounder.describe()

    def report_engines(self) -> tuple[EngineReport, ...]:
        """Return the same in words."""
        return tuple(report(description) for description in self.engines())

    def close(self) -> None:
        """Free what the engines hold."""
        self._engine.close()
        self._grounder.close()

    @property
    def grounding(self) -> Grounding | None:
        """What the instruction means here, as far as it is known; None before the first image."""
        return self._grounder.best

    def start(self, instruction: str) -> None:
        """Take a new instruction; the next observation tells where things stand.

        Raises:
            InstructionRejected: if the text is empty or too long.
        """
        self._grounder.start(self._language.encode(instruction))
        self._instruction = instruction
        self._anchor = np.zeros((1, 2, 4), np.float32)

    def show(self, demonstrations: Sequence[Demonstration]) -> None:
        """Prompt with demonstrations of what instructions ask for; an empty sequence forgets them.

        They count for every instruction that is started after this, until others are shown. No
        weight changes, and their order means nothing.

        Raises:
            UserError: if there are more than a prompt holds, or one acted where nothing is seen;
                the prompt before stays.
            ObservationError: if the front image of one is missing or malformed.
        """
        self._grounder.show(
            [self._acted_on(index, each) for index, each in enumerate(demonstrations, start=1)]
        )

    def infer(self, observation: Observation) -> ActionChunk:
        """Return the chunk for one observation.

        Raises:
            ObservationError: if a required feature is missing or malformed; names it.
            RuntimeError: if `start` has not been called.
        """
        return self._decide(observation, None)

    def go_on(self, observation: Observation, prefix: ChunkPrefix) -> ActionChunk:
        """Return the chunk for one observation that begins like the prefix.

        Raises:
            ObservationError: if a required feature is missing or malformed; names it.
            RuntimeError: if `start` has not been called.
            ValueError: if the prefix does not fit; see `prefix_parts`.
        """
        return self._decide(observation, prefix)

    def _decide(self, observation: Observation, prefix: ChunkPrefix | None) -> ActionChunk:
        if not self._instruction:
            raise RuntimeError("BundlePolicy.start(instruction) has not been called yet")
        self._require(observation)
        inputs = self._inputs(observation)
        shape = (self._config.horizon, self._config.n_joints)
        inputs |= prefix_inputs(self.prefix_parts, prefix, shape)
        found = self._grounder.update(inputs, observation.stamp_ns)
        inputs |= {"slots": found.slots, "queries": found.queries}
        acted = self._engine.infer(inputs)
        points = acted["points"]
        before = self._anchor[..., 3]
        better = (before < ANCHOR_CONFIDENCE) & (points[..., 3] > before)
        if better.any():
            self._anchor = np.where(better[..., None], points, self._anchor).astype(np.float32)
            inputs["anchor"] = self._anchor
            acted = self._engine.infer(inputs)
        # what an engine gives is good until it is asked again
        self.inputs, self.points = inputs, acted["points"][0].copy()
        self.attention = {camera: acted[f"attention_{camera}"][0].copy() for camera in CAMERAS}
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            step_s=self._config.step_s,
            joint_names=self._joints,
            positions=acted["chunk"][0].astype(np.float64),
            progress=float(acted["progress"][0]),
            instruction=self._instruction,
            grounding=found.presence if inputs["present"][0, 0] else 1.0,
        )

    def reconsider(self, inputs: Mapping[str, NDArray[np.generic]]) -> FloatArray:
        """Return the chunk (H, n) [rad] for other inputs of the graph that acts.

        What explains a chunk asks this; what is inferred next stays as it would be.
        """
        chunk: FloatArray = self._engine.infer(inputs, ["chunk"])["chunk"][0].astype(np.float64)
        return chunk

    def ground(self, instruction: str) -> Grounding:
        """Return what other words would mean in the last image; those in force stay so.

        Raises:
            InstructionRejected: if the text is empty or too long.
            RuntimeError: if nothing was inferred yet.
        """
        if not self.inputs:
            raise RuntimeError("BundlePolicy.infer(observation) has not been called yet")
        return self._grounder.look(self.inputs, self._language.encode(instruction))

    def draw_attention(self, observation: Observation, camera: str) -> UInt8Array | None:
        """Return the image of a camera with what was last looked at in it drawn over it.

        Args:
            observation: Of the last inference.
            camera: Name of the camera; None comes back for one that the policy does not read.
        """
        image, heat = observation.images.get(camera), self.attention.get(camera)
        if image is None or heat is None:
            return None
        found = self.grounding
        marks = marks_of(found) if found is not None and camera == "front" else ()
        return draw_attention(image, heat, found, marks=marks)

    def _open(self, name: str) -> Engine:
        graph = Graph(path=self._bundle.file(name), bundle=self._bundle.directory)
        return self._open_graph(graph, self._choice)

    def _acted_on(self, number: int, demonstration: Demonstration) -> Float32Array:
        """Return what the thing that a demonstration acted on looks like (E,)."""
        if "front" not in demonstration.observation.images:
            raise ObservationError("observation.images.front", f"demonstration {number} lacks it")
        inputs = camera_inputs(self._config, demonstration.observation)
        seen = self._grounder.look(inputs, self._language.encode(ANYTHING))
        region = seen.region_at(np.asarray(demonstration.xyz, np.float32))
        if region is None:
            raise UserError(
                f"demonstration {number}: {seen.describe_absence(demonstration.xyz)}; give the "
                "place where the thing stood when the image was taken, in the base frame, with "
                "nothing in front of it"
            )
        return np.asarray(seen.embedding[region])

    def _require(self, observation: Observation) -> None:
        """Refuse an observation that lacks what the contract requires; the rest is masked."""
        there = {FeatureKind.IMAGE: observation.images, FeatureKind.DEPTH: observation.depths}
        for spec in self._required:
            sensed = spec.camera in there.get(spec.kind, (spec.camera,))
            if spec.kind is FeatureKind.IMU:
                sensed = observation.imu is not None
            if not sensed:
                raise ObservationError(spec.feature, "is missing, and the contract requires it")

    def _inputs(self, observation: Observation) -> dict[str, NDArray[np.generic]]:
        state = self._joints_seen.read(observation)
        inputs = camera_inputs(self._config, observation, self._pool)
        inputs["imu"] = checked(
            observation.imu, (self._config.imu_window, 6), np.float32, "observation.imu"
        )
        if not np.isfinite(inputs["imu"]).all():
            raise ObservationError("observation.imu", "holds NaN or infinity")
        inputs |= cloud_inputs(self._clouds, inputs)
        return inputs | {
            "state": state,
            "anchor": self._anchor,
        }

    def notice(self, observation: Observation) -> None:
        """Take note of where the joints are at a time for which no chunk is wanted.

        Raises:
            ObservationError: if a position is not finite.
        """
        self._joints_seen.read(observation)


def open_policy(directory: str, contract: RobotContract, choice: EngineChoice) -> BundlePolicy:
    """Open a bundle for a robot."""
    return BundlePolicy(directory, contract, choice)


def _read_config(bundle: Bundle) -> PolicyConfig:
    try:
        return PolicyConfig.from_dict(bundle.policy)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{bundle.directory / DESCRIPTION}: policy: this version cannot run it: {error!r}"
        ) from error
