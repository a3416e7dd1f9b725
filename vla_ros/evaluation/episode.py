"""One closed-loop episode: what the policy commands, through the gate, judged from physics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from vla_ros.core.errors import InstructionRejected
from vla_ros.core.protocols import Policy
from vla_ros.core.types import ActionChunk, FloatArray, Observation
from vla_ros.engine.scheduling import Schedule
from vla_ros.evaluation.delayed import DelayedPolicy
from vla_ros.evaluation.plan import LIMIT_S
from vla_ros.evaluation.smoothness import measure_jerk
from vla_ros.planner.goal_monitor import GoalSettings
from vla_ros.planner.refusal import LATER_STEP, RefusalSignal
from vla_ros.planner.steps import StepSplitter
from vla_ros.sim.environment import STEP_S, Environment, TimeStep
from vla_ros.sim.scenes import Scene
from vla_ros.sim.tabletop import CONTROL_STEP_S

#: After success an episode goes on for this long at most in [s], to hear the policy say so.
LINGER_S = 3.0

#: After a policy has said too early that it is done, things settle for this long [s].
SETTLE_S = 0.3

#: Called with every observation and the chunk's progress.
OnStep = Callable[[Observation, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeResult:
    """How one episode went.

    Attributes:
        index: Of the episode in its evaluation.
        seed: Of the scene.
        skill: Of the scene.
        instruction: What the policy was told.
        success: Whether the task was done, judged from physics.
        moved_another: Whether something that the instruction does not name was moved.
        reason: Of the success or failure, in words.
        duration_s: Until success or the end, in simulated [s].
        said_done: Whether the policy's own progress said by the end that the task was done.
        commands: Commands that were checked against the limits.
        violations: Commands that broke a limit; more than 0 is a bug.
        rejected_chunks: Chunks that the gate refused.
        missed_commands: Commands that were not seen on their way to the robot, and so not checked.
        absent: Whether what the instruction names is not there, and to refuse is to succeed.
        refused: Whether it was refused as naming what is not there.
        grounding: How likely the policy held it to be there, 0 to 1.
        chance: How often a guess among the objects would have named the right one.
        noun_chance: How often a guess among those that the noun allows would have.
        observations: That an adaptive policy was given; 0 for another one, which always infers.
        inferences: That it made of them, or that a policy made that takes its time.
        misses: Chunks that came after their deadline.
        jerk_rms: Of the commands, over all joints and periods of 10 ms [rad/s^3].
        jerk_max: Largest of all [rad/s^3].
    """

    index: int
    seed: int
    skill: str
    instruction: str
    success: bool
    moved_another: bool
    reason: str
    duration_s: float
    said_done: bool
    commands: int
    violations: int
    rejected_chunks: int
    missed_commands: int = 0
    absent: bool = False
    refused: bool = False
    grounding: float = 1.0
    chance: float = 0.0
    noun_chance: float = 0.0
    observations: int = 0
    inferences: int = 0
    misses: int = 0
    jerk_rms: float = 0.0
    jerk_max: float = 0.0


class DoneSignal:
    """Says whether a policy's progress has been high for as long as the planner wants it."""

    def __init__(self, settings: GoalSettings | None = None) -> None:
        """Take the planner's thresholds; None for its defaults."""
        self._settings = settings or GoalSettings()
        self._since_s: float | None = None
        self.given = False

    def hear(self, progress: float, now_s: float) -> bool:
        """Take the progress of a chunk; return whether the policy says that it is done now."""
        if not progress >= self._settings.done_progress:
            self._since_s, self.given = None, False
            return False
        self._since_s = now_s if self._since_s is None else self._since_s
        # stamps are multiples of 50 ms: half a step of room for rounding
        self.given = now_s - self._since_s >= self._settings.done_for_s - 0.5 * STEP_S
        return self.given


def run_episode(
    environment: Environment,
    policy: Policy,
    scene: Scene,
    *,
    instruction: str | None = None,
    index: int = 0,
    limit_s: float = LIMIT_S,
    linger_s: float = LINGER_S,
    on_step: OnStep | None = None,
    delayed: DelayedPolicy | None = None,
) -> EpisodeResult:
    """Let a policy act in a scene until it says done, moves something else, or time is up.

    Args:
        environment: It is reset.
        policy: It is started.
        scene: Whose task is judged.
        instruction: What the policy is told; None for the scene's own sentence.
        index: Of the episode in its evaluation.
        limit_s: Longest duration of each step in simulated [s].
        linger_s: Longest time after success in [s] for the policy to say that it is done.
        on_step: Called at 20 Hz, to film an episode.
        delayed: The policy that takes its time, and how; None to have each chunk at once.
    """
    text = scene.text if instruction is None else instruction
    step = environment.reset(scene)
    deciding = delayed or DelayedPolicy(policy, Schedule())
    told = _Told(deciding, text)
    try:
        told.next_step(environment.table.time_s)
    except InstructionRejected as error:
        return _result(index, scene, text, step, told, reason=f"the policy rejects it: {error}")
    table = environment.table
    violations = rejected = 0
    progress = 0.0
    commands: list[FloatArray] = []
    done_at_s: float | None = None
    while table.time_s - told.began_s < limit_s and not step.score.violated:
        if done_at_s is not None and table.time_s - done_at_s >= linger_s:
            break
        if told.refused or (told.done_with_step and not told.next_step(table.time_s)):
            break
        for arrival in deciding.look(step.observation):
            told.hear(arrival.decided, table.time_s + arrival.lag_s)
            progress = arrival.decided.progress
            if arrival.executed is not None:
                environment.send(arrival.executed, arrival.lag_s)
        if on_step is not None:
            on_step(step.observation, progress)
        step = environment.step(None)
        commands += step.commands
        violations += len(step.violations)
        rejected += bool(step.rejected)
        if step.score.success and done_at_s is None:
            done_at_s = table.time_s
    ended_s = table.time_s
    if told.done.given and done_at_s is None:
        for _ in range(round(SETTLE_S / STEP_S)):
            step = environment.idle()
            violations += len(step.violations)
    return _result(
        index,
        scene,
        text,
        step,
        told,
        reason=_reason(step, told, ended_s),
        duration_s=table.time_s if done_at_s is None else done_at_s,
        said_done=told.done.given,
        checked=environment.checked_commands,
        violations=violations,
        rejected_chunks=rejected,
        misses=deciding.misses,
        commands=commands,
        inferences=deciding.inferences if delayed is not None else 0,
    )


class _Told:
    """What a policy was told of an instruction, and what it said to that."""

    def __init__(self, policy: DelayedPolicy, text: str) -> None:
        self._policy = policy
        self._steps = list(_splitter().split(text))
        self.began_s, self._later = 0.0, False
        self.done, self._refusal = DoneSignal(), RefusalSignal()
        self.grounding = 1.0

    @property
    def refused(self) -> bool:
        return self._refusal.given

    @property
    def done_with_step(self) -> bool:
        """Whether it says that the step is done, and nothing may still be found to be missing."""
        return self.done.given and not self._refusal.pending

    def next_step(self, now_s: float) -> bool:
        """Tell the policy the next step; return whether there was one."""
        if not self._steps:
            return False
        self._policy.start(self._steps.pop(0))
        self.began_s = now_s
        self.done, self._refusal = DoneSignal(), RefusalSignal(LATER_STEP if self._later else None)
        self._later = True
        return True

    def hear(self, chunk: ActionChunk, now_s: float) -> None:
        self.done.hear(chunk.progress, now_s)
        self._refusal.hear(chunk.grounding, now_s)
        self.grounding = chunk.grounding


@cache
def _splitter() -> StepSplitter:
    return StepSplitter()


def _reason(step: TimeStep, told: _Told, at_s: float) -> str:
    if step.score.success or step.score.violated:
        return step.score.reason
    if told.refused:
        return f"refused: what it names is there with a chance of {told.grounding:.0%}"
    if told.done.given:
        return f"the policy says after {at_s:.1f} s that it is done, and it is not"
    return "time is up; the policy does not say that it is done"


def _result(
    index: int,
    scene: Scene,
    instruction: str,
    step: TimeStep,
    told: _Told,
    *,
    reason: str,
    duration_s: float = 0.0,
    said_done: bool = False,
    checked: int = 0,
    violations: int = 0,
    rejected_chunks: int = 0,
    misses: int = 0,
    inferences: int = 0,
    commands: Sequence[FloatArray] = (),
) -> EpisodeResult:
    jerk = measure_jerk(commands, CONTROL_STEP_S)
    return EpisodeResult(
        index=index,
        seed=scene.seed,
        skill=scene.skill,
        instruction=instruction,
        success=step.score.success or (scene.absent and told.refused and not step.score.violated),
        moved_another=step.score.violated,
        reason=reason,
        duration_s=duration_s,
        said_done=said_done,
        commands=checked,
        violations=violations,
        rejected_chunks=rejected_chunks,
        absent=scene.absent,
        refused=told.refused,
        grounding=told.grounding,
        chance=scene.chance,
        noun_chance=scene.noun_chance,
        inferences=inferences,
        misses=misses,
        jerk_rms=jerk.rms,
        jerk_max=jerk.most,
    )
