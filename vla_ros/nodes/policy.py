"""The `policy` node: sensor topics and an instruction in, stamped action chunks out."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from std_msgs.msg import String
from vla_ros_interfaces.msg import ActionChunk

from vla_ros.contract import load_contract
from vla_ros.core.conventions import SETTLE_S
from vla_ros.core.errors import (
    InferenceFailed,
    InstructionRejected,
    ObservationError,
    UserError,
)
from vla_ros.core.protocols import Noticing, Policy
from vla_ros.core.types import Observation
from vla_ros.engine.adaptive import describe_saving
from vla_ros.engine.pinning import parse_cpus, pin_thread
from vla_ros.engine.scheduling import Schedule, ScheduleSettings
from vla_ros.nodes.policy_loading import PolicyReplacement, close, load_policy
from vla_ros.nodes.policy_parameters import PolicyParameters
from vla_ros.observation.rates import RateMonitor
from vla_ros.ros.acting_input import ActingInput
from vla_ros.ros.attention_publisher import AttentionPublisher
from vla_ros.ros.chunks import write_chunk
from vla_ros.ros.command_memory import CommandMemory
from vla_ros.ros.diagnostics import ERROR, OK, DiagnosticsPublisher, Finding
from vla_ros.ros.engine_findings import engine_findings
from vla_ros.ros.instruction_input import InstructionInput, Wanted
from vla_ros.ros.lifecycle import ManagedNode
from vla_ros.ros.parameters import declare_parameters
from vla_ros.ros.periodic import create_steady_timer
from vla_ros.ros.qos import command_qos, latched_qos
from vla_ros.ros.running import main_of
from vla_ros.ros.sensor_streams import SensorStreams

#: How long before its observation a policy is told where the joints were [ns].
RECALLED_NS = 50_000_000

#: Longest wait for an inference that is under way when the node is stopped [s].
STOP_S = 5.0

#: With an instruction in force, no inference for this long is a fault [s].
STARVED_S = 1.0


class PolicyNode(ManagedNode):
    """Infers on each new frame of the reference camera, in a thread of its own.

    Only the newest frame counts: whatever comes during an inference replaces what came before.
    The instruction and a newly loaded policy are taken up by that thread between two inferences.
    """

    default_name = "policy"
    _thread: threading.Thread | None = None

    def setup(self) -> None:
        """Load contract and bundle, subscribe to the sensors."""
        self._settings = declare_parameters(self, PolicyParameters)
        self._contract = load_contract(self._settings.contract)
        settings = self._settings
        self._schedule = Schedule(
            ScheduleSettings(scheduling=settings.scheduling, deadline_s=settings.deadline_s)
        )
        self._policy = self._load(settings.bundle)
        self._instruction = InstructionInput(self._settings.instruction_timeout_s)
        self._considered, self._started = Wanted(), ""
        self._stopping = threading.Event()
        self._fault, self._inference_ms, self._noticed_ns = "", 0.0, 0
        self._streams = SensorStreams(self, self._contract, self._settings.sensor_reliability)
        self._commands = CommandMemory(self, self._contract, self._streams.now_ns)
        self._acting = ActingInput(self)
        self._rate = RateMonitor(self._streams.frame_rate_hz)
        self._diagnostics = DiagnosticsPublisher(self, self._contract.name)
        self._chunks = self.create_publisher(ActionChunk, "policy/chunk", command_qos())
        self._attention = AttentionPublisher(self, self._contract)
        self.create_subscription(String, "instruction", self._on_instruction, latched_qos())
        self._replacement = PolicyReplacement(self, self._load, lambda: self._policy)
        create_steady_timer(self, 1.0, self._diagnose)

    def start(self) -> None:
        """Start to infer."""
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError("the inference that was to be stopped has not ended yet")
        self._stopping = threading.Event()  # a new one: a thread that is late keeps to its own
        self._considered, self._started = Wanted(), ""
        self._inferred_ns = time.monotonic_ns()
        self._streams.start()
        self._rate.start(self._streams.now_ns())
        self._thread = self.start_thread("inference", self._run)

    def stop(self) -> None:
        """Stop to infer; the gate plays the last chunk to its end and holds."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join(STOP_S)
            if self._thread.is_alive():
                self.get_logger().error(f"an inference has not ended within {STOP_S:g} s")
                return
            self._thread = None

    def teardown(self) -> None:
        """End the threads that decode images, and free what policies hold."""
        streams: SensorStreams | None = getattr(self, "_streams", None)
        if streams is not None:
            streams.close()
        if self._thread is not None:  # it may still infer with the memory that would be freed
            return
        for name in ("_replacement", "_policy"):
            close(self.__dict__.pop(name, None))

    def _load(self, bundle: str) -> Policy:
        """Return the policy of a bundle directory.

        Raises:
            UserError: if it cannot be run as the parameters ask; says why.
        """
        policy = load_policy(bundle, self._contract, self._settings, self.get_logger())
        try:
            self._schedule.require(policy)
        except UserError:
            close(policy)
            raise
        return policy

    def _run(self) -> None:
        stopping = self._stopping
        pin_thread(parse_cpus(self._settings.cpus))
        frame_ns: int | None = None
        while not stopping.is_set():
            self._take_up_changes()
            newer_ns = self._streams.aligner.wait_for_frame(frame_ns, timeout_s=0.1)
            if newer_ns is None:
                continue
            frame_ns = newer_ns
            if not self._started:
                continue
            if self._acting.interrupted:
                self._schedule.forget()  # each chunk begins anew until one is executed
            if self._schedule.due(frame_ns):
                self._infer(frame_ns)
            else:
                self._inferred_ns = time.monotonic_ns()  # it is meant to wait

    def _take_up_changes(self) -> None:
        """Change policy and instruction, if others have come."""
        policy = self._replacement.take()
        wanted, before = self._instruction.wanted(), self._considered
        if policy is not None:
            replaced, self._policy = self._policy, policy
            close(replaced)  # only this thread infers, so nothing is under way
        elif wanted == before or not (wanted.text or before.text):
            return
        self._considered, self._started, self._fault = wanted, "", ""
        self._schedule.forget()
        self._chunks.publish(ActionChunk())  # without rows: nothing of the old one is to be done
        if not wanted.text:
            if wanted.dropped:
                self.get_logger().warning(
                    "idle: the instruction was not repeated for "
                    f"{self._settings.instruction_timeout_s:.1f} s; is the planner running?"
                )
            return
        try:
            self._policy.start(wanted.text)
            self._started, self._inferred_ns = wanted.text, time.monotonic_ns()
        except InstructionRejected as error:
            self._fault = str(error)
            self.get_logger().error(f"instruction rejected: {error}")

    def _infer(self, frame_ns: int) -> None:
        streams = self._streams
        streams.aligner.settle(frame_ns, SETTLE_S)
        began = time.perf_counter()
        try:
            observation = streams.aligner.build(frame_ns, streams.now_ns())
            observation = replace(observation, command=self._commands.at(frame_ns))
            self._recall(observation)
            chunk = self._schedule.infer(self._policy, observation)
        except (ObservationError, InferenceFailed) as error:
            self._fault = f"no inference: {error}"
            return
        self._inference_ms = 1e3 * (time.perf_counter() - began)
        self._fault, self._inferred_ns = "", time.monotonic_ns()
        self._rate.count(streams.now_ns())
        released = self._schedule.finish(chunk, streams.now_ns())
        if released is None or self._acting.let_go_after(observation.stamp_ns):
            return  # too late, or out of date: the gate goes on with what it has
        self._chunks.publish(
            write_chunk(
                released, bundle=self._policy.bundle_sha256, inference_ms=self._inference_ms
            )
        )
        self._attention.publish(self._policy, observation)

    def _recall(self, observation: Observation) -> None:
        """Tell a policy that was busy where the joints were shortly before: they have moved."""
        before_ns = observation.stamp_ns - RECALLED_NS
        if isinstance(self._policy, Noticing) and self._noticed_ns < before_ns:
            state = self._streams.aligner.state_at(before_ns)
            if state is not None:
                self._policy.notice(Observation(stamp_ns=before_ns, state=state))
        self._noticed_ns = observation.stamp_ns

    def _on_instruction(self, message: String) -> None:
        if self._instruction.hear(message.data):
            self.get_logger().info(f"instruction: {message.data!r}" if message.data else "idle")

    def _diagnose(self) -> None:
        if self._thread is None:
            return
        working = "inferring" if self._started else "idle: no instruction"
        fault = self._fault or self._starvation()
        finding = Finding(
            name="inference",
            message=fault or working,
            level=ERROR if fault else OK,
            values={
                "rate_hz": round(self._rate.report(self._streams.now_ns()).rate_hz, 1),
                "inference_ms": round(self._inference_ms, 2),
                "policy": self._policy.name,
                "bundle_sha256": self._policy.bundle_sha256,
                "instruction": self._started,
                **describe_saving(self._policy),
                **self._schedule.describe(),
            },
        )
        engines = engine_findings(self._policy)
        self._diagnostics.publish([finding, *engines, *self._streams.findings()])

    def _starvation(self) -> str:
        """Return why nothing is inferred although an instruction is in force, or ''."""
        silent_s = (time.monotonic_ns() - self._inferred_ns) * 1e-9
        if not self._started or silent_s < STARVED_S:
            return ""
        topic = self._streams.frame_topic
        return f"no inference for {silent_s:.1f} s: {topic} brings no new frame"


main = main_of(PolicyNode)

if __name__ == "__main__":
    main()
