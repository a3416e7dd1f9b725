"""A recorded episode played again in the simulator: its commands, in its scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from vla_ros.contract import STATE
from vla_ros.core.conventions import SCENE_TOPIC
from vla_ros.core.errors import UserError
from vla_ros.core.stamps import to_ns
from vla_ros.core.types import FloatArray
from vla_ros.data.frames import RecordedEpisode
from vla_ros.sim.scene_record import SCENE_KEY, redraw_scene
from vla_ros.sim.scenes import Scene
from vla_ros.sim.tabletop import CONTROL_STEP_S, IMAGE_SIZE, JOINTS, Tabletop

STEP_NS = round(1e9 * CONTROL_STEP_S)
#: The arm may be this far from where it was recorded [rad]: real time is not exact to the step.
TOLERANCE_RAD = 0.06
#: Recorded this close to where the scene has the arm at first, it began there [rad].
START_RAD = 1e-6


def recorded_scene(episode: RecordedEpisode) -> Scene:
    """Return the scene that an episode was recorded in.

    Raises:
        UserError: if it was not simulated, the table was laid anew meanwhile, or this version
            draws the scene differently.
    """
    values: Any = episode.info.extra.get(SCENE_KEY)
    if values is None:
        told = [message.data for _, _, message in episode.messages([SCENE_TOPIC])]
        if len(set(told)) > 1:
            raise UserError(f"{episode.folder}: the table was laid anew while it was recorded")
        if not told:
            raise UserError(
                f"{episode.folder}: was not recorded in the simulator: neither its "
                f"episode.json has a {SCENE_KEY!r}, nor is anything on {SCENE_TOPIC}"
            )
        values = json.loads(told[0])
    return redraw_scene(values)


class SimulatedReplay:
    """Plays an episode's commands; use it in a `with`, and from one thread.

    Attributes:
        table: The simulator, at the time that was played to.
    """

    def __init__(
        self,
        episode: RecordedEpisode,
        scene: Scene,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        """Lay the table, and put the arm where it was recorded first.

        Args:
            episode: With the simulated arm's joints.
            scene: That it was recorded in; its looks may differ.
            image_size: Of the rendered images [px].

        Raises:
            UserError: if it has other joints, or no joint states or commands.
        """
        contract = episode.contract
        if tuple(contract.action.joints) != tuple(JOINTS):
            raise UserError(
                f"{episode.folder}: its joints are {', '.join(contract.action.joints)}; the "
                f"simulator's are {', '.join(JOINTS)}"
            )
        self._episode = episode
        self._on_step: Callable[[], None] | None = None
        self._commands = episode.index.commands
        self._stamps, self._recorded = _joint_states(episode)
        self._start_ns = int(self._stamps[0])
        self.table = Tabletop(image_size=image_size)
        self.table.reset(scene)
        self._place_arm(self._recorded[0])
        self._steps, self._checked = 0, 0

    def __enter__(self) -> SimulatedReplay:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the renderers."""
        self.table.close()

    @property
    def now_ns(self) -> int:
        """Time of the recording that was played to [ns]."""
        return self._start_ns + self._steps * STEP_NS

    def watch(self, on_step: Callable[[], None]) -> None:
        """Have `on_step` called after each step of 10 ms."""
        self._on_step = on_step

    def play_to(self, stamp_ns: int) -> None:
        """Play on to a stamp [ns]; one that has passed changes nothing.

        Raises:
            UserError: if the arm is not where it was recorded; says when, and how far off.
        """
        while self.now_ns + STEP_NS // 2 < stamp_ns:
            self._check()
            self.table.step(self._command())
            self._steps += 1
            if self._on_step is not None:
                self._on_step()

    def play(self) -> None:
        """Play to the last joint state.

        Raises:
            UserError: if the arm is not where it was recorded.
        """
        self.play_to(int(self._stamps[-1]))

    def _command(self) -> FloatArray:
        if not len(self._commands.since_ns) or self.now_ns < self._commands.since_ns[0]:
            return self.table.command
        return np.array(self._commands.at(np.array([self.now_ns]))[0])

    def _check(self) -> None:
        """Compare the arm with the joint states of about now."""
        while self._checked < len(self._stamps) and self._stamps[self._checked] <= self.now_ns:
            index, self._checked = self._checked, self._checked + 1
            if self._stamps[index] < self.now_ns - STEP_NS // 2:
                continue
            off = np.abs(self.table.joint_positions - self._recorded[index])
            if not (off <= TOLERANCE_RAD).all():
                worst = int(np.argmax(off))
                raise UserError(
                    f"{self._episode.folder}: played again, {JOINTS[worst]} is "
                    f"{off[worst]:.2f} rad from where it was recorded after "
                    f"{1e-9 * (self.now_ns - self._start_ns):.2f} s; expected at most "
                    f"{TOLERANCE_RAD} rad. The recording begins after something was moved, or "
                    "lacks commands"
                )

    def _place_arm(self, positions: FloatArray) -> None:
        table = self.table
        if np.abs(positions - table.joint_positions).max() <= START_RAD:
            return
        for name, position in zip(JOINTS, positions, strict=True):
            table.data.joint(name).qpos[0] = position
            table.data.joint(name).qvel[0] = 0.0
        table.data.ctrl[:] = positions
        mujoco.mj_forward(table.model, table.data)


def _joint_states(episode: RecordedEpisode) -> tuple[Any, FloatArray]:
    """Return stamps [ns], (N,), and positions (N, 6) [rad] in the order of the contract."""
    names = list(episode.contract.action.joints)
    topic = episode.contract.observation(STATE).topic
    stamps, rows = [], []
    for _, _, message in episode.messages([topic]):
        order = [list(message.name).index(name) for name in names]
        stamps.append(to_ns(message.header.stamp))
        rows.append(np.asarray(message.position, np.float64)[order])
    if not rows:
        raise UserError(f"{episode.folder}: has no joint states (on {topic})")
    return np.array(stamps, np.int64), np.array(rows)
