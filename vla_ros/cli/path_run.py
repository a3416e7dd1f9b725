"""The path from sensor messages to the first command, stage by stage, around a real policy.

Everything is what the nodes run: the subscriptions' callbacks, the aligner, the policy, the
publisher, the gate. No executor stands in between but once, for the chunk; its share is told
apart. Time is made up, a period from one frame to the next, so that a run takes no longer than
the work in it; messages are stamped in that time.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from vla_ros_interfaces.msg import ActionChunk

from vla_ros.cli.stage_times import StageTimes
from vla_ros.contract import IMU, FeatureKind, ObservationSpec, RobotContract
from vla_ros.core.errors import DefectError, ObservationError, UserError
from vla_ros.core.protocols import Policy
from vla_ros.core.types import Observation
from vla_ros.engine.timed_engine import EngineCall
from vla_ros.ros.chunks import read_chunk, write_chunk
from vla_ros.ros.command_memory import CommandMemory
from vla_ros.ros.gate_driver import GateDriver, Measured
from vla_ros.ros.joints import CommandCodec
from vla_ros.ros.qos import command_qos
from vla_ros.ros.sample_messages import SampleMessages
from vla_ros.ros.sensor_streams import SensorStreams
from vla_ros.safety import make_gate

#: Made-up time from a frame to its observation, and longest wait for what ROS or a decoder owes.
SETTLED_NS, PATIENCE_S = 1_000_000, 5.0


class PathRun:
    """A robot's sensors, policy and gate in one process. One thread uses it.

    Attributes:
        clock: Returns the time in [ns], of the stages; the engines' clock has to be the same.
    """

    def __init__(
        self, node: Node, contract: RobotContract, policy: Policy, calls: list[EngineCall]
    ) -> None:
        """Subscribe and make the gate, as the nodes do.

        Args:
            node: Owner of subscriptions and publishers; nobody else spins it.
            contract: Of the robot.
            policy: Has been given an instruction; its engines note their calls in `calls`.
            calls: See `TimedEngine`.
        """
        self._contract, self._policy, self._calls = contract, policy, calls
        self.clock: Callable[[], int] = time.perf_counter_ns
        self._messages = SampleMessages(contract)
        self._streams = SensorStreams(node, contract, "best_effort")
        self._receivers = _receivers(node, contract)
        self._now_ns = 10_000_000_000
        self._commands = CommandMemory(node, contract, lambda: self._now_ns)
        self._driver = GateDriver(make_gate(contract))
        action = contract.action
        self._codec = CommandCodec(action.command.type, action.joints, contract.control_period_s)
        self._positions = np.array(contract.home)
        self._publisher = node.create_publisher(ActionChunk, "policy/chunk", command_qos())
        self._to_robot = node.create_publisher(
            self._codec.message_type, action.command.topic, command_qos()
        )
        self._heard: list[tuple[int, int]] = []
        node.create_subscription(ActionChunk, "policy/chunk", self._on_chunk, command_qos())
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._cameras = [spec for spec in contract.observations if spec.camera]
        self._fast = [spec for spec in contract.observations if not spec.camera]
        self._sent_ns = {spec.feature: self._now_ns for spec in self._fast}
        self._period_ns = round(1e9 / self._cameras[0].rate_hz)
        self._frame = 0
        self._received: dict[str, Any] = {}
        # for `copies`: whether messages and observation of a frame are kept
        self._watching = False
        self._observation: Observation | None = None

    def close(self) -> None:
        """Let go of the executor and of the threads that decode."""
        self._executor.shutdown()
        self._streams.close()

    def run(self, ticks: int, progress: Callable[[int], None] = lambda done: None) -> StageTimes:
        """Return what `ticks` frames took; `progress` is told after each how many are done.

        Raises:
            UserError: if an observation or a chunk does not come about; says why.
        """
        times = StageTimes()
        for done in range(ticks):
            times.add(self.tick(), self._calls)
            times.taken += not self._driver.chunk_fault
            progress(done + 1)
        return times

    def tick(self) -> dict[str, int]:
        """Go through one frame; return the duration of each stage [ns].

        Raises:
            UserError: if the observation does not come about; says why.
        """
        self._frame += 1
        stamp_ns = self._now_ns = self._now_ns + self._period_ns
        tick: dict[str, int] = defaultdict(int)
        self._calls.clear()
        self._observation = None
        for spec in self._fast:
            self._send_readings(spec, stamp_ns, tick)
        for spec in self._cameras:
            self._deliver(spec, self._messages.camera(spec, stamp_ns, self._frame), tick)
        self._await_frames(stamp_ns, tick)
        self._now_ns += SETTLED_NS
        message = self._infer(stamp_ns, tick)
        self._execute(message, tick)
        return tick

    def copies(
        self, inputs: Callable[[], Mapping[str, NDArray[np.generic]]]
    ) -> dict[str, dict[str, int]]:
        """Return how often each camera's image is written from message to network, and the bytes.

        Args:
            inputs: Tells what the network was given in the frame before; one goes through now.
        """
        self._watching = True
        self.tick()
        self._watching = False
        given, seen, found = inputs(), self._observation, {}
        assert seen is not None
        for spec in self._cameras:
            colours = spec.kind is FeatureKind.IMAGE
            feature = (seen.images if colours else seen.depths)[spec.camera]
            steps = [
                np.frombuffer(self._received[spec.feature], np.uint8),
                feature,
                given.get(f"{'rgb' if colours else 'depth'}_{spec.camera}", feature),
            ]
            written = [
                after.nbytes
                for before, after in pairwise(steps)
                if not np.may_share_memory(before, after)
            ]
            found[spec.feature] = {
                "message_bytes": steps[0].nbytes,
                "copies": len(written),
                "written_bytes": sum(written),
            }
        self._received.clear()
        self._observation = None
        return found

    def _send_readings(self, spec: ObservationSpec, until_ns: int, tick: dict[str, int]) -> None:
        """Deliver what a fast sensor sends from one frame to the next."""
        period_ns = round(1e9 / spec.rate_hz)
        while self._sent_ns[spec.feature] + period_ns <= until_ns:
            self._sent_ns[spec.feature] += period_ns
            stamp_ns = self._sent_ns[spec.feature]
            if spec.feature == IMU:
                data = self._messages.imu(spec, stamp_ns)
            else:
                data = self._messages.joints(self._positions, stamp_ns)
            self._deliver(spec, data, tick)

    def _deliver(self, spec: ObservationSpec, data: bytes, tick: dict[str, int]) -> None:
        kind, callback = self._receivers[spec.feature]
        began = self.clock()
        message = deserialize_message(data, kind)
        callback(message)
        tick["callback"] += self.clock() - began
        if self._watching and spec.camera:
            self._received[spec.feature] = message.data

    def _await_frames(self, stamp_ns: int, tick: dict[str, int]) -> None:
        """Wait for what is decoded in other threads.

        Raises:
            UserError: if that takes too long; says what is wrong.
        """
        if not any(spec.compressed for spec in self._cameras):
            return
        began = self.clock()
        if not self._streams.aligner.wait_for_images(stamp_ns, PATIENCE_S):
            faults = self._streams.aligner.faults(self._now_ns)
            raise UserError(f"images are not decoded within {PATIENCE_S:g} s: {faults}")
        tick["decode"] = self.clock() - began

    def _infer(self, stamp_ns: int, tick: dict[str, int]) -> ActionChunk:
        began = self.clock()
        try:
            observation = self._streams.aligner.build(stamp_ns, self._now_ns)
            observation = replace(observation, command=self._commands.at(stamp_ns))
            built = self.clock()
            chunk = self._policy.infer(observation)
        except ObservationError as error:
            raise UserError(f"the path stops before the policy: {error}") from error
        message = write_chunk(chunk, bundle=self._policy.bundle_sha256)
        ended = self.clock()
        self._observation = observation if self._watching else None
        if not self._calls:
            raise DefectError("the policy asked none of the engines that are timed")
        inferring = sum(call.ended_ns - call.began_ns for call in self._calls)
        first, last = self._calls[0], self._calls[-1]
        tick["build"] = built - began
        between = last.ended_ns - first.began_ns - inferring
        tick["preprocess"] = first.began_ns - built + between
        tick["infer"] = inferring
        tick["postprocess"] = ended - last.ended_ns
        return message

    def _execute(self, message: ActionChunk, tick: dict[str, int]) -> None:
        """Publish the chunk, and let the gate make a command of it, then those that follow."""
        self._heard.clear()
        began = self.clock()
        self._publisher.publish(message)
        published = self.clock()
        deadline = time.monotonic() + PATIENCE_S
        while not self._heard:
            self._executor.spin_once(timeout_sec=PATIENCE_S)
            if time.monotonic() > deadline:
                raise UserError(f"no chunk came back through ROS within {PATIENCE_S:g} s")
        heard, received = self._heard[0]
        tick["publish"], tick["executor"] = published - began, heard - published
        tick["receive"] = received - heard
        began = self.clock()
        command = self._driver.tick(self._now_ns)
        if command.positions is not None:
            self._positions = command.positions
            made = self._codec.write(command.positions, self._now_ns)
            decided = self.clock()
            self._to_robot.publish(made)
            tick["command"] = self.clock() - decided
            tick["gate"] = decided - began
        step_ns = round(1e9 * self._contract.control_period_s)
        for later_ns in range(self._now_ns + step_ns, self._now_ns + self._period_ns, step_ns):
            self._driver.measured = Measured(self._positions, later_ns)
            positions = self._driver.tick(later_ns).positions
            if positions is not None:
                self._positions = positions
        self._driver.measured = Measured(self._positions, self._now_ns + self._period_ns)

    def _on_chunk(self, message: ActionChunk) -> None:
        heard = self.clock()
        self._driver.offer(read_chunk(message))
        self._heard.append((heard, self.clock()))


def _receivers(
    node: Node, contract: RobotContract
) -> dict[str, tuple[type, Callable[[Any], None]]]:
    """Return message type and callback of every feature's subscription."""
    by_topic = {item.topic_name: item for item in node.subscriptions}
    found = {}
    for spec in contract.observations:
        subscription = by_topic[node.resolve_topic_name(spec.topic)]
        found[spec.feature] = subscription.msg_type, subscription.callback
    return found
