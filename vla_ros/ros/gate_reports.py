"""What the gate says about itself: its status message and its diagnostics."""

from __future__ import annotations

from rclpy.node import Node
from vla_ros_interfaces.msg import GateStatus

from vla_ros.ros.diagnostics import OK, WARN, Finding
from vla_ros.ros.gate_driver import GateDriver
from vla_ros.ros.periodic import JitterStatistics
from vla_ros.safety import GateState

#: The node that listens to the commands and does nothing with them but plan on from there.
POLICY = "policy"


def write_status(
    driver: GateDriver, now_ns: int, jitter: JitterStatistics, state_fault: str
) -> GateStatus:
    """Return `gate/status` but for its stamp.

    Args:
        driver: The gate and its last command.
        now_ns: Present time in [ns].
        jitter: Of the control thread.
        state_fault: Topic of the joint states and what is wrong with them, or ''.
    """
    gate, command, chunk = driver.gate, driver.command, driver.gate.chunk
    assert command is not None
    reason = command.reason
    if command.state is GateState.ESTOP and state_fault:
        reason = f"{reason}; {state_fault}"
    elif reason and state_fault:
        reason = state_fault
    elif reason and driver.operator_fault:
        reason = f"{reason}; the operator's last chunk was rejected: {driver.operator_fault}"
    elif reason and driver.chunk_fault:
        reason = f"{reason}; the last chunk was rejected: {driver.chunk_fault}"
    message = GateStatus(
        state=int(command.state),
        reason=reason,
        chunk_age_s=gate.chunk_age_s(now_ns),
        chunk_remaining_s=gate.chunk_remaining_s(now_ns),
        progress=float(chunk.progress) if chunk else 0.0,
        grounding=float(chunk.grounding) if chunk else 1.0,
        instruction=chunk.instruction if chunk else "",
        actor=str(driver.actor),
        ticks=gate.ticks,
        limited=gate.limited_ticks,
        rejected_chunks=gate.rejected_chunks,
        jitter_p99_ms=jitter.p99_ms,
    )
    if command.positions is not None:
        message.command = command.positions.tolist()
    return message


def gate_findings(driver: GateDriver, jitter: JitterStatistics, period_s: float) -> list[Finding]:
    """Return the health of chunks and of the control loop with its `period_s` [s]."""
    late = jitter.p99_ms > 0.5e3 * period_s
    rejected = driver.chunk_fault
    command, latency = driver.command, driver.latency.summarize()
    return [
        Finding(
            name="policy/chunk",
            message=rejected or "ok",
            level=WARN if rejected else OK,
            values={"rejected": driver.gate.rejected_chunks},
        ),
        Finding(
            name="teleop/command",
            message=driver.operator_fault
            or ("an operator has the arm" if driver.arbitration.engaged else "ok"),
            level=WARN if driver.operator_fault else OK,
            values={},
        ),
        Finding(
            name="control",
            message=(
                f"p99 jitter is {jitter.p99_ms:.1f} ms of a {period_s * 1e3:.0f} ms period: this "
                "machine is too busy, or SCHED_FIFO is not permitted"
                if late
                else (command.reason if command else "") or "executing"
            ),
            level=WARN if late else OK,
            values={
                "jitter_p50_ms": round(jitter.p50_ms, 3),
                "jitter_p99_ms": round(jitter.p99_ms, 3),
                "jitter_max_ms": round(jitter.max_ms, 3),
                "sensor_to_command_p50_ms": round(latency.p50_ms, 1),
                "sensor_to_command_p99_ms": round(latency.p99_ms, 1),
                "ticks": driver.gate.ticks,
                "limited": driver.gate.limited_ticks,
            },
        ),
    ]


def command_finding(node: Node, topic: str) -> Finding:
    """Return whether anything takes the gate's commands, and whether anybody else gives some.

    Args:
        node: The gate.
        topic: Of the commands.
    """
    name = node.resolve_topic_name(topic)
    watcher = (POLICY, node.get_namespace())
    takers = [
        item
        for item in node.get_subscriptions_info_by_topic(name)
        if (item.node_name, item.node_namespace) != watcher
    ]
    others = node.count_publishers(name) - 1
    fault = ""
    if others > 0:
        fault = (
            f"{others} more publish commands beside this gate: is another graph running? (One "
            "that was killed is still listed for some seconds)"
        )
    elif not takers:
        fault = (
            "nobody subscribes to the commands: is the driver running, and its topic the "
            "contract's action.command.topic?"
        )
    return Finding(
        name=topic,
        message=fault or "ok",
        level=WARN if fault else OK,
        values={"listeners": len(takers), "other_publishers": max(0, others)},
    )
