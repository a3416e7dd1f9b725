"""How a collection runs, as the options of `vla_ros collect` say."""

from __future__ import annotations

from dataclasses import dataclass

from vla_ros.core.errors import UserError

OUTCOMES = ("", "success", "failure")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How a collection runs.

    Attributes:
        instruction: Of every episode; "" takes the simulated scene's, or the one in force.
        operator: Who records.
        simulated: Whether there is a simulator, whose table is laid anew before each episode.
        seed: Of the first simulated scene.
        skill: Of the simulated scenes; "" for any.
        episodes: End after so many complete ones; 0 does not.
        episode_s: How long an episode is [s]; above 0, episodes start and end by themselves.
        pause_s: Between two of them [s].
        outcome: Label of those that end by themselves: "success", "failure" or "".
        judge: Whether physics labels instead, and ends those that succeed.
    """

    instruction: str = ""
    operator: str = ""
    simulated: bool = False
    seed: int = 0
    skill: str = ""
    episodes: int = 0
    episode_s: float = 0.0
    pause_s: float = 3.0
    outcome: str = ""
    judge: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            UserError: naming the option, what was expected and what came.
        """
        for name, value in (
            ("episodes", self.episodes),
            ("seconds", self.episode_s),
            ("pause", self.pause_s),
        ):
            if not 0 <= value < float("inf"):
                raise UserError(f"--{name} is {value}; expected 0 or more")
        if self.outcome not in OUTCOMES:
            raise UserError(f"--outcome is '{self.outcome}'; expected success or failure")
        if self.judge and not self.simulated:
            raise UserError("--judge needs the simulator's physics; on a robot label by hand")
        if not self.episode_s and (self.judge or self.outcome):
            raise UserError(
                "--judge and --outcome label episodes that end by themselves: --seconds"
            )
