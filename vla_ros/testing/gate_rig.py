"""A gate with an arm behind it, for tests: time is stepped by hand, every command is checked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_ros.contract import RobotContract
from vla_ros.core.types import ActionChunk, FloatArray
from vla_ros.safety import Command, Gate, GateConfig, make_checker, make_gate

Path = Callable[[float], FloatArray]


class GateRig:
    """Ticks a gate, plays an arm that follows perfectly, and lets no violation pass.

    Attributes:
        gate: The gate; any that `make_gate` could have made.
        checker: Knows only the limits and the commands.
        now_ns: Present time in [ns].
        position: Where the arm is in [rad], shape (n,).
        trace: Every command so far.
    """

    def __init__(
        self, contract: RobotContract, config: GateConfig | None = None, gate: Gate | None = None
    ) -> None:
        """Put the arm at the contract's home pose; the gate has not seen it yet."""
        self.contract = contract
        self.gate = gate or make_gate(contract, config)
        self.checker = make_checker(contract)
        self.period_ns = round(contract.control_period_s * 1e9)
        self.now_ns = 1_000_000_000_000
        self.position = np.array(contract.home)
        self.trace: list[FloatArray] = []

    def tick(self, measured: FloatArray | None = None, *, blind: bool = False) -> Command:
        """Advance one period.

        Args:
            measured: What the gate measures in [rad], shape (n,); None for where the arm is.
            blind: Whether the gate gets no measurement at all.

        Raises:
            AssertionError: if the command breaks a limit; names each.
        """
        self.now_ns += self.period_ns
        seen = None if blind else (self.position if measured is None else measured)
        command = self.gate.tick(self.now_ns, seen)
        if command.positions is not None:
            self.position = command.positions
            self.trace.append(command.positions)
            violations = self.checker.observe(command.positions)
            if violations:
                raise AssertionError("; ".join(map(str, violations)))
        return command

    def run(self, seconds: float) -> Command:
        """Advance for some time in [s] and return the last command."""
        command = self.tick()
        for _ in range(round(seconds * 1e9 / self.period_ns) - 1):
            command = self.tick()
        return command

    def chunk(
        self,
        path: Path | FloatArray,
        *,
        horizon: int = 12,
        stamp_ns: int | None = None,
        step_s: float = 0.05,
        begin_s: float = 0.0,
    ) -> ActionChunk:
        """Return a chunk.

        Args:
            path: Position in [rad], shape (n,), at a time in [s], or one for all times.
            horizon: Number of rows.
            stamp_ns: Stamp in [ns]; None for now.
            step_s: Time between rows in [s].
            begin_s: Time on the path at the stamp in [s].
        """
        times = begin_s + step_s * np.arange(1, horizon + 1)
        rows = [path(float(t)) if callable(path) else path for t in times]
        return ActionChunk(
            stamp_ns=self.now_ns if stamp_ns is None else stamp_ns,
            step_s=step_s,
            joint_names=self.contract.action.joints,
            positions=np.array(rows, dtype=np.float64).reshape(horizon, -1),
        )

    def accept(self, chunk: ActionChunk) -> None:
        """Hand a chunk to the gate now.

        Raises:
            ChunkRejected: if the gate does not take it.
        """
        self.gate.accept(chunk, self.now_ns)
