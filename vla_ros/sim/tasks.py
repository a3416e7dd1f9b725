"""Success of the core suite's skills, judged from physics."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_ros.sim.layout import CONTAINER_RADIUS, DIRECTIONS
from vla_ros.sim.scenes import Goal, Scene

#: How long the condition of a skill must hold without a break [s].
DWELL_S = 0.25
REACH_ABOVE = 0.03  # [m] the point that `reach` brings the tcp to, above the object's top
REACH_RADIUS = 0.025  # [m]
LIFT_HEIGHT = 0.04  # [m] gained by the object's centre
PUSH_DISTANCE = 0.04  # [m] along the direction; sideways at most half of what is gained
#: What the instruction does not ask to move may be moved by this much [m].
DISTURBANCE = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Whether the task was done, and whether something else was moved; both are latched."""

    success: bool
    violated: bool
    reason: str


class TaskJudge:
    """Watches one episode's physics and says when its task is done."""

    def __init__(self, scene: Scene, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Remember where everything stands at the start."""
        self.scene = scene
        self._model, self._data = model, data
        self._start = {item.name: self._position(item.name) for item in scene.objects}
        self._goal, self._behind = 0, set[str]()
        self._since_s: float | None = None
        self._success = self._violated = False
        self._reason = "the task is not done yet"

    def start_of(self, name: str) -> NDArray[np.float64]:
        """Return where the object stood at the start, (3,) [m] in base_link."""
        return self._start[name]

    def update(self) -> Score:
        """Judge the present state; call it after every control step."""
        moved = self._moved_unasked()
        if moved and not self._success:
            self._violated = True
            self._reason = f"{moved} was moved, which the instruction does not ask for"
        met = self.condition()
        now = float(self._data.time)
        self._since_s = (self._since_s if self._since_s is not None else now) if met else None
        held = self._since_s is not None and now - self._since_s >= DWELL_S
        if held and not self._violated and not self._success:
            self._finish_goal(now)
        return Score(success=self._success, violated=self._violated, reason=self._reason)

    @property
    def goal(self) -> Goal:
        """What is to be done now: the last goal once all are done."""
        return self.scene.goals[self._goal]

    @property
    def goals_done(self) -> int:
        """How many of the scene's goals are done."""
        return self._goal + self._success

    def condition(self) -> bool:
        """Whether the present goal's condition is true right now."""
        if self.scene.absent:
            return False
        judge = getattr(self, f"_{self.goal.skill}")
        return any(judge(name) for name in self.goal.answers)

    def _finish_goal(self, now_s: float) -> None:
        if self.goal.skill != "reach":
            self._behind |= set(self.goal.answers)
        if self._goal + 1 < len(self.scene.goals):
            self._goal += 1
            self._since_s = None
            self._start |= {item.name: self._position(item.name) for item in self.scene.objects}
            self._reason = f"only {self._goal} of {len(self.scene.goals)} steps are done"
            return
        self._success, self._reason = True, f"{self.goal.skill} done at {now_s:.1f} s"

    def _position(self, name: str) -> NDArray[np.float64]:
        return np.array(self._data.body(name).xpos)

    @property
    def _tcp(self) -> NDArray[np.float64]:
        return np.array(self._data.site("tcp").xpos)

    def _moved_unasked(self) -> str | None:
        movable = set(self._behind)
        if not (self.scene.absent or self.goal.skill == "reach"):
            movable |= set(self.goal.answers)
        for item in self.scene.objects:
            if item.name not in movable:
                shift = np.linalg.norm(self._position(item.name) - self._start[item.name])
                if not shift <= DISTURBANCE:
                    return item.name
        return None

    def _reach(self, name: str) -> bool:
        item = self.scene.find(name)
        point = self._position(item.name)
        point[2] += item.half_size + REACH_ABOVE
        return bool(np.linalg.norm(self._tcp - point) <= REACH_RADIUS)

    def _lift(self, name: str) -> bool:
        gained = self._position(name)[2] - self._start[name][2]
        return bool(gained >= LIFT_HEIGHT)

    def _push(self, name: str) -> bool:
        assert self.goal.direction is not None
        along = np.array(DIRECTIONS[self.goal.direction])
        shift = (self._position(name) - self._start[name])[:2]
        gained = float(shift @ along)
        sideways = float(np.linalg.norm(shift - gained * along))
        low = self._position(name)[2] < 0.03
        return low and gained >= PUSH_DISTANCE and sideways <= 0.5 * gained

    def _place(self, name: str) -> bool:
        assert self.goal.target is not None
        item, container = self._position(name), self._position(self.goal.target)
        inside = np.hypot(*(item - container)[:2]) <= CONTAINER_RADIUS - 0.006
        return bool(inside and item[2] <= 0.035 and not self._held(name))

    def _stack(self, name: str) -> bool:
        assert self.goal.target is not None
        top, base = self.scene.find(name), self.scene.find(self.goal.target)
        offset = self._position(top.name) - self._position(base.name)
        on = abs(offset[2] - top.half_size - base.half_size) <= 0.006
        over = np.hypot(*offset[:2]) <= base.half_size + 0.004
        still = np.linalg.norm(self._data.joint(top.name).qvel[:3]) <= 0.02
        return bool(on and over and still and not self._held(top.name))

    def _held(self, name: str) -> bool:
        return bool(self.finger_contacts(name))

    def finger_contacts(self, name: str) -> set[str]:
        """Return which of gripper_link and jaw_link touch the object."""
        touching: set[str] = set()
        body = self._model.body(name).id
        for index in range(self._data.ncon):
            contact = self._data.contact[index]
            pair = (
                int(self._model.geom_bodyid[contact.geom1]),
                int(self._model.geom_bodyid[contact.geom2]),
            )
            if body in pair:
                other = self._model.body(pair[0] if pair[1] == body else pair[1]).name
                if other in ("gripper_link", "jaw_link"):
                    touching.add(other)
        return touching
