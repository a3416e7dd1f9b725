"""The gate: the only way from a policy to the robot."""

from __future__ import annotations

import numpy as np

from vla_ros.core.errors import ChunkRejected, EmergencyStopEngaged, SafetyError
from vla_ros.core.kinematics import Chain
from vla_ros.core.limits import JointLimits, WorkspaceBox
from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.safety.chunk_admission import admit
from vla_ros.safety.gate_config import Command, GateConfig, GateState
from vla_ros.safety.gate_memory import RecentCommands, StampOrder
from vla_ros.safety.joint_state_check import JointStateCheck
from vla_ros.safety.reference import ChunkPath, Reference
from vla_ros.safety.tracking import MotionFilter
from vla_ros.safety.workspace import WorkspaceGuard


class Gate:
    """Executes stamped chunks by time, within the limits, and holds when anything is not right.

    It has no thread and reads no clock: `tick` is called once per control period with the present
    time. Holding is the fastest stop that the limits allow, and then standing still.

    Attributes:
        state_check: Judges the measured joint states.
    """

    def __init__(
        self,
        limits: JointLimits,
        workspace: WorkspaceBox | None = None,
        chain: Chain | None = None,
        dt_s: float = 0.01,
        config: GateConfig | None = None,
    ) -> None:
        """Make a gate that does not know yet where the robot is.

        Args:
            limits: Limits of n joints, in the order of the commands.
            workspace: Where the tip of `chain` may be; None for anywhere.
            chain: From the robot's base to the tool centre point; needed with `workspace`.
            dt_s: Control period in [s].
            config: What is tolerated.

        Raises:
            ValueError: if there is a workspace and no chain, or a value is out of range.
        """
        if workspace is not None and chain is None:
            raise ValueError("a workspace needs the chain whose tip it limits")
        self.limits = limits
        self.dt_s = dt_s
        self.config = config or GateConfig()
        if len(self.config.following_error_rad) not in (0, limits.size):
            raise ValueError(
                f"following_error_rad: expected {limits.size} values,"
                f" got {len(self.config.following_error_rad)}"
            )
        self.state_check = JointStateCheck(limits, self.config)
        self._filter = MotionFilter(limits, dt_s)
        self._guard = (
            WorkspaceGuard(workspace, chain, limits.names)
            if workspace is not None and chain is not None
            else None
        )
        self._commands = RecentCommands(dt_s)
        self._chunk: ActionChunk | None = None
        self._path: ChunkPath | None = None
        self._reference: Reference | None = None
        self._stamps = StampOrder()
        self._ran_out = ""
        self._command: FloatArray | None = None
        self._last_tick_ns: int | None = None
        self._no_chunk = "no chunk has come"
        self._blocked = ""
        self._pressed = False
        self._stopped = False
        self.ticks = 0
        self.limited_ticks = 0
        self.rejected_chunks = 0

    @property
    def chunk(self) -> ActionChunk | None:
        """The chunk that is executed; None while there is none."""
        return self._chunk

    @property
    def command(self) -> FloatArray | None:
        """The last command in [rad], shape (n,); None before the first."""
        return None if self._command is None else self._command.copy()

    @property
    def at_rest(self) -> bool:
        """Whether the command stands still."""
        return self._filter.at_rest

    @property
    def longest_stop_s(self) -> float:
        """A bound on how long the limits let braking take, from whatever motion, in [s]."""
        return self._filter.longest_stop * self.dt_s

    @property
    def stopped(self) -> bool:
        """Whether the emergency stop is pressed or latched."""
        return self._stopped

    def chunk_age_s(self, now_ns: int) -> float:
        """Return the age of the executed chunk's observation in [s]; NaN without one."""
        chunk = self._chunk  # other threads ask, too
        return float("nan") if chunk is None else (now_ns - chunk.stamp_ns) * 1e-9

    def chunk_remaining_s(self, now_ns: int) -> float:
        """Return how long the executed chunk lasts in [s]; 0 without one."""
        chunk = self._chunk
        return 0.0 if chunk is None else max(0.0, (chunk.end_ns - now_ns) * 1e-9)

    def accept(
        self,
        chunk: ActionChunk,
        now_ns: int,
        *,
        source: str = "policy",
        ran_out: str = "the chunk ran out",
    ) -> None:
        """Take a chunk and execute it from the next tick on, in place of the one before.

        Args:
            chunk: What to execute.
            now_ns: Present time in [ns].
            source: Who has made it; the chunks of one source come in the order of their stamps.
            ran_out: Why the arm holds when this chunk has run out.

        Raises:
            ChunkRejected: with the reason; what was being executed goes on.
        """
        try:
            if self._stopped:
                raise ChunkRejected("the emergency stop is engaged")
            if self._command is None:
                raise ChunkRejected("no joint state has come yet")
            rows = admit(
                chunk,
                now_ns=now_ns,
                command=self._command,
                newest_ns=self._stamps.oldest_ns(source),
                limits=self.limits,
                config=self.config,
            )
        except ChunkRejected:
            self.rejected_chunks += 1
            raise
        self._chunk = chunk
        self._stamps.note(source, chunk.stamp_ns)
        self._ran_out = ran_out
        self._path = ChunkPath(
            stamp_ns=chunk.stamp_ns,
            step_s=chunk.step_s,
            command=self._commands.at(chunk.stamp_ns, self._command),
            rows=rows,
        )
        if self._reference is not None:
            self._reference.fade_in(self._path, now_ns)

    def tick(
        self, now_ns: int, measured: FloatArray | None, measured_ns: int | None = None
    ) -> Command:
        """Decide the command of one control period; called every `dt_s`.

        Args:
            now_ns: Present time in [ns], on the clock of the chunks' stamps.
            measured: Measured joint positions in [rad], shape (n,); None if there are none.
            measured_ns: Their stamp in [ns]; None if they are of now.
        """
        self.ticks += 1
        fault = self.state_check.fault(now_ns, measured, measured_ns)
        if self._command is None:
            if fault or measured is None:
                state = GateState.ESTOP if self._stopped else GateState.HOLD
                return Command(positions=None, state=state, reason=fault, limited=False)
            self._start_at(measured)
        assert self._command is not None
        if self._last_tick_ns is not None and now_ns < self._last_tick_ns:
            self.drop_chunk("the clock went backwards")
            self._commands.clear()
            self._stamps.begin(None)
        limited = False
        if self._stopped:
            state, reason = GateState.ESTOP, "emergency stop"
        else:
            state = GateState.HOLD
            if not fault and measured is not None:
                fault = self.state_check.following_fault(measured, self._command)
            reason = fault or self._run_out(now_ns)
        if not reason:
            reason = self._follow(now_ns)
            limited = self._filter.limited or bool(reason)
            state = GateState.HOLD if reason else GateState.EXECUTING
        else:
            self._hold()
        self._last_tick_ns = now_ns
        self._command = self._filter.position
        self._commands.add(now_ns, self._command)
        self.limited_ticks += limited
        return Command(positions=self._command.copy(), state=state, reason=reason, limited=limited)

    def estop(self, pressed: bool) -> None:
        """Press or release the emergency stop; released, it stays latched until `reset`."""
        self._pressed = pressed
        if pressed:
            self._stopped = True
            self.drop_chunk("the emergency stop was engaged")

    def drop_chunk(self, reason: str) -> None:
        """Stop executing: brake and hold with this reason, until the next chunk is accepted."""
        self._chunk = None
        self._path = None
        self._no_chunk = reason

    def refuse_before(self, time_ns: int) -> None:
        """Refuse chunks stamped before `time_ns` [ns] from now on, whoever has made them."""
        self._stamps.refuse_before(time_ns)

    def reset(self, position: FloatArray, now_ns: int | None = None) -> None:
        """Begin anew at rest where the robot is; releases a latched emergency stop.

        The next command is `position`: a step from the last command that no limit bounds, by as
        much as the arm is away from it. So the command has to stand still before.

        Args:
            position: Measured joint positions in [rad], shape (n,).
            now_ns: Chunks stamped before this time in [ns] are refused; None to refuse none.

        Raises:
            EmergencyStopEngaged: if the emergency stop is still pressed.
            SafetyError: if the command still moves.
            NonFiniteCommand: if a position is not finite; names the joint.
        """
        if self._pressed:
            raise EmergencyStopEngaged("release the emergency stop before the reset")
        if not self.at_rest:
            raise SafetyError("the arm still moves: it can begin anew when it stands still")
        self._start_at(position)
        self._stopped = False
        self._blocked = ""
        self.drop_chunk("no chunk since the reset")
        self._commands.clear()
        self._last_tick_ns = None
        self._stamps.begin(now_ns)

    def _start_at(self, position: FloatArray) -> None:
        self._command = self._filter.reset(np.asarray(position, dtype=np.float64))
        if self._guard is not None:
            self._guard.reset(self._command)

    def _run_out(self, now_ns: int) -> str:
        """Return why there is nothing to execute, in time to stand still when the chunk ends."""
        if self._chunk is None:
            return self._no_chunk
        remaining = (self._chunk.end_ns - now_ns) * 1e-9 / self.dt_s
        if remaining <= 0.0 or (
            remaining < self._filter.longest_stop
            and remaining < self._filter.periods_to_stop(round(remaining) + 1)
        ):
            self.drop_chunk(self._ran_out)
            return self._no_chunk
        return ""

    def _hold(self) -> None:
        self._filter.brake()
        self._reference = None

    def _follow(self, now_ns: int) -> str:
        """Advance along the chunk, or brake and return what is in the way."""
        path, guard = self._path, self._guard
        assert path is not None
        if self._blocked and guard is not None:
            here = path.sample(now_ns, self.dt_s)[0]
            ahead = path.sample(now_ns + round(self.config.blend_s * 1e9), self.dt_s)[0]
            if not self._filter.at_rest or guard.fault(here) or guard.fault(ahead):
                self._hold()
                return self._blocked
            self._blocked = ""
        if self._reference is None:
            self._reference = Reference(
                self._filter.stopping_point(), self.config.blend_s, self.dt_s, self.limits
            )
            self._reference.fade_in(path, now_ns - round(self.dt_s * 1e9))
        samples = self._reference.sample(now_ns)
        accelerations = self._filter.wishes(samples)
        if guard is not None:
            fault = guard.fault_of_step(self._filter.motions, accelerations, samples[0])
            if fault:
                self._blocked = f"workspace: {fault}"
                self._hold()
                return self._blocked
        self._filter.advance(accelerations)
        return ""
