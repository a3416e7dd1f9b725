"""Evaluates a bundle through the real nodes, in real time: `vla_ros eval --through-ros`."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_ros.bringup.background import BackgroundGraph
from vla_ros.contract.loading import load_contract
from vla_ros.core.errors import UserError
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.evaluation.episode import LINGER_S, EpisodeResult
from vla_ros.evaluation.plan import EvaluationPlan
from vla_ros.evaluation.report import Report
from vla_ros.evaluation.suite import OnEpisode, conduct
from vla_ros.planner.outcome import Outcome
from vla_ros.sim.scenes import Scene

CONTRACT = "tabletop_sim"
RESET, SCORE, RUN = "/vla/sim/reset", "/vla/sim/score", "/vla/run_instruction"
#: How often physics is asked [s].
ASK_S = 0.1
#: How long a goal may take to end after it was cancelled, or after its own time-out [s].
PATIENCE_S = 10.0
#: After the goal's end the scene settles for this long before the last verdict [s].
SETTLE_S = 0.3
#: Longest wait for a new scene, and for the gate to begin anew in it [s].
RESET_S, NOTICE_S = 20.0, 2.0


def evaluate_through_ros(
    *,
    bundle: Path,
    plan: EvaluationPlan,
    on_episode: OnEpisode | None = None,
    log: Path | None = None,
) -> Report:
    """Play the core suite on unseen seeds with simulator, policy, gate and planner as processes.

    Args:
        bundle: Directory of the policy.
        plan: The core suite on unseen seeds.
        on_episode: Called as each episode ends.
        log: File that keeps finished episodes until all are; those it has are not played again.

    Raises:
        UserError: if the graph does not start or stops answering.
    """
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    # rclpy reads the environment as it is imported
    from vla_ros.ros.domains import choose_domain

    policy = BundlePolicy(bundle)
    domain = choose_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    return conduct(
        plan,
        policy,
        "through ROS",
        lambda missing: _play_all(bundle, plan, missing, domain),
        on_episode=on_episode,
        log=log,
    )


def _play_all(
    bundle: Path, plan: EvaluationPlan, indices: Sequence[int], domain: int
) -> Iterator[EpisodeResult]:
    """Bring the graph up and play episodes of the plan on it."""
    with tempfile.TemporaryDirectory(prefix="vla_ros_eval_") as folder:
        arguments = ["sim", "--policy", str(bundle.resolve())]
        with BackgroundGraph(arguments, log=Path(folder) / "graph.log", domain=domain) as graph:
            graph.wait_ready()
            player = RosPlayer()
            try:
                for index in indices:
                    yield player.play(plan.scene(index), index, plan.limit_s)
            finally:
                player.close()


@dataclass(slots=True)
class _Watch:
    """What is known of the running episode."""

    accepted_at_s: float
    done_at_s: float | None = None
    score: Any = None


class RosPlayer:
    """Plays episodes on a running graph, as an operator with a physics judge would."""

    def __init__(self) -> None:
        """Connect to the graph."""
        from rclpy.action import ActionClient
        from vla_ros_interfaces.action import RunInstruction
        from vla_ros_interfaces.msg import GateStatus

        from vla_ros.ros.command_audit import CommandAudit
        from vla_ros.ros.graph_client import GraphClient
        from vla_ros.ros.qos import latched_qos

        self._client = GraphClient("vla_ros_eval")
        self._audit = CommandAudit(self._client.node, load_contract(CONTRACT))
        self._action = ActionClient(self._client.node, RunInstruction, RUN)
        self._goal_type = RunInstruction.Goal
        self._succeeded = RunInstruction.Result.SUCCEEDED
        self._rejected_chunks = 0
        self._client.node.create_subscription(
            GateStatus, "/vla/gate/status", self._on_status, latched_qos()
        )

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def play(self, scene: Scene, index: int, limit_s: float) -> EpisodeResult:
        """Lay the scene, send its sentence, and watch until it is judged.

        Raises:
            UserError: if the graph stops answering.
        """
        self._reset(scene)
        audit = self._audit
        before = audit.commands, audit.missed, len(audit.violations), self._rejected_chunks
        handle = self._send(scene.text, limit_s + LINGER_S)
        watch = _Watch(accepted_at_s=self._score().elapsed_s)
        result = handle.get_result_async()
        self._watch(watch, result, limit_s)
        timed_out = not result.done()
        if timed_out:
            handle.cancel_goal_async()
        outcome = self._client.answer(result, PATIENCE_S, "the planner").result
        if not timed_out and watch.done_at_s is None:  # as a direct run does
            self._spin_for(SETTLE_S)
            watch.score = self._score()
        score = watch.score
        said_done = outcome.outcome == self._succeeded
        return EpisodeResult(
            index=index,
            seed=scene.seed,
            skill=scene.skill,
            instruction=scene.text,
            success=score.success,
            moved_another=score.violated,
            reason=score.reason if score.success or score.violated else outcome.message,
            duration_s=(watch.done_at_s or score.elapsed_s) - watch.accepted_at_s,
            said_done=said_done,
            commands=self._audit.commands - before[0],
            missed_commands=self._audit.missed - before[1],
            violations=len(self._audit.violations) - before[2],
            rejected_chunks=self._rejected_chunks - before[3],
            refused=outcome.outcome == Outcome.NOT_FOUND,
            absent=scene.absent,
        )

    def _watch(self, watch: _Watch, result: Any, limit_s: float) -> None:
        """Follow the score until the goal ends, something else is moved, or time is up."""
        while not result.done():
            watch.score = score = self._score()
            if score.success and watch.done_at_s is None:
                watch.done_at_s = score.elapsed_s
            elapsed_s = score.elapsed_s - watch.accepted_at_s
            since_done_s = score.elapsed_s - (watch.done_at_s or score.elapsed_s)
            if score.violated or since_done_s > LINGER_S:
                return
            if watch.done_at_s is None and elapsed_s > limit_s:
                return
            self._spin_for(ASK_S)

    def _reset(self, scene: Scene) -> None:
        from vla_ros_interfaces.srv import ResetScene

        request = ResetScene.Request(
            suite="core", split=scene.split, skill=scene.skill, seed=scene.seed
        )
        self._audit.expect_new_beginning(within_s=RESET_S + NOTICE_S)
        answer = self._client.call(ResetScene, RESET, request, timeout_s=RESET_S)
        if not answer.success:
            raise UserError(f"{RESET}: {answer.message}")
        if answer.instruction != scene.text:
            raise UserError(
                f"{RESET}: the simulator has another scene for seed {scene.seed}: "
                f"'{answer.instruction}' instead of '{scene.text}'"
            )

    def _send(self, text: str, timeout_s: float) -> Any:
        ready = self._action.server_is_ready
        self._client.wait_for(ready, PATIENCE_S, f"no planner serves {RUN}")
        goal = self._goal_type(instruction=text, timeout_s=timeout_s)
        return self._client.answer(self._action.send_goal_async(goal), PATIENCE_S, "the planner")

    def _score(self) -> Any:
        from vla_ros_interfaces.srv import ScoreScene

        return self._client.call(ScoreScene, SCORE, ScoreScene.Request())

    def _spin_for(self, duration_s: float) -> None:
        until = time.monotonic() + duration_s
        while (left_s := until - time.monotonic()) > 0:
            self._client.spin_once(left_s)

    def _on_status(self, message: Any) -> None:
        self._rejected_chunks = message.rejected_chunks
