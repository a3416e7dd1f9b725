"""From where on something is a finding; every number with its reason, every one to be changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from vla_ros.core.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on something is a finding. Rates and oldest ages are the contract's.

    Attributes:
        slow_rate: Part of the promised rate below which a topic is slow. What the diagnostics
            call short while the robot runs (`observation.rates.TOLERATED`).
        fast_rate: Part of the promised rate above which a topic is fast: two publishers on one
            topic give 2.0, a driver that is generous with its rate 1.1.
        lost_share: Part of a topic's messages that may be lost. A best-effort topic on a loaded
            machine loses some per mille; at 2 % a 30 Hz camera skips a frame every 1.7 s.
        usual_loss: Part that is lost anyway; short episodes lose more than `lost_share` by chance.
        loss_chance: How likely it may be that a loss is that chance: with some hundred episodes of
            ten topics, one false alarm in ten recordings.
        command_gap_s: Longest hole in the commands [s]. The gate sends at control rate whatever
            happens; a quarter of a second without means it did not run.
        late_s: How late a topic may begin [s]: discovery between nodes takes some tenths.
        early_s: How early one may end [s]: nothing but its driver ends it while the others go on.
        skew_s: How much the time from stamp to reception may differ between sensors [s]. More
            than one and a half frames at 30 Hz, and a picture shows where the arm no longer is.
        drift_s: How much that time may change within an episode [s]: a frame at 30 Hz.
        clock_s: Time from stamp to reception from which on the stamps are of another clock [s]:
            no driver buffers a second.
        step_back_s: Stamps may go back by this [s]: rounding of drivers that count in ms.
        longest_lag_s: Longest lag from a command to the joints [s]. Servo arms need 0.02 to 0.15.
        lag_differs_s: How much an episode's lag may differ from the recording's median [s]: the
            robot is the same, so what differs is when things were stamped; two frames at 30 Hz.
        least_correlation: Correlation of commanded and measured motion from which on a lag counts
            as measured. Below it, the joints did not do what they were told.
        sight_s: How far in time a camera may see the arm from where the joints say it is [s]: two
            frames at 30 Hz; a driver that stamps what it buffered has 0.1 to 0.3.
        sight_correlation: Correlation of the pictures' changes and the joints' speed from which on
            that counts as measured: a camera on the arm reaches 0.6 to 0.95, others hardly 0.7.
        sight_confirms: And from which on it confirms what is measured in another way.
        sight_gain: And by how much it has to fit better than at the same time.
        frozen_s: How long a camera may show exactly the same picture while the robot moves [s].
            Sensor noise changes pictures of still scenes; two equal frames happen when a driver
            repeats one, a third of a second is ten.
        moves_rad: How far a joint goes within `moving_window_s` if the robot moves [rad]: six
            steps of a 12-bit encoder.
        moving_window_s: Window of `moves_rad` [s].
        dark_level: Pixels below this of 255 are black: what a sensor's noise floor reaches.
        bright_level: Pixels from this on are burnt out.
        dark_share: Part of a picture that may be black. Dark tables and arms cover half of many.
        bright_share: Part of a picture that may be burnt out: a lamp or a window covers a tenth.
        least_contrast: Smallest standard deviation of a picture's grey levels; a lens cap or a
            wall that is out of focus has 1 to 3.
        exposure_s: How long exposure may be bad [s]: automatic exposure settles in a third.
        hole_share: Part of a depth picture that may be holes. Stereo cameras leave up to a third
            at edges and shiny things; with more than half, a policy sees mostly nothing.
        position_tolerance: How far a command may exceed a position limit [rad or m]: rounding.
        velocity_tolerance: Part by which a step may exceed the velocity limit.
        idle_end_s: How long the robot may rest before and after the task [s]: reaction time.
        idle_s: How long it may rest in the middle [s]: people look and think.
        kept_idle_s: What `--fix` leaves of resting ends [s], so that a policy learns to stop.
        least_duration_s: Shortest episode [s]; shorter ones are pressed by mistake.
        duplicate_rad: Root mean square distance of two joint paths of equal length that are the
            same one [rad]: below an encoder's step, which no two demonstrations repeat.
        duplicate_level: Largest mean difference of their first pictures, of 255.
        frequent_word: Occurrences from which on a word of instructions counts as spelt right.
        balance_episodes: Fewest episodes of which balance and outliers are said: below, chance.
        largest_share: Part of the episodes that one instruction may have, where there are more.
        failure_share: Part of the judged episodes that may be failures.
        outlier: How many robust standard deviations (1.4826 MAD) from the median an episode may
            be: what Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993) recommend.
            Too long counts in [s] and too short in its logarithm: lengths have a long tail.
        outlier_ratio: And how many times longer or shorter than the median it has to be: the tasks
            of one recording differ by two or three, and where all episodes are alike, a MAD of
            nothing makes everything an outlier.
        start_rad: And how far its start has to be from the median start, as a root mean square of
            the joints [rad]: 29 degrees each. Starts are varied on purpose, by less.
        drop_below: Score below which `--fix` drops an episode.
    """

    slow_rate: float = 0.8
    fast_rate: float = 1.3
    lost_share: float = 0.02
    usual_loss: float = 0.005
    loss_chance: float = 1e-4
    command_gap_s: float = 0.25
    late_s: float = 0.5
    early_s: float = 0.25
    skew_s: float = 0.05
    drift_s: float = 0.033
    clock_s: float = 1.0
    step_back_s: float = 0.001
    longest_lag_s: float = 0.2
    lag_differs_s: float = 0.067
    least_correlation: float = 0.6
    sight_s: float = 0.067
    sight_correlation: float = 0.8
    sight_confirms: float = 0.7
    sight_gain: float = 0.15
    frozen_s: float = 0.3
    moves_rad: float = 0.01
    moving_window_s: float = 0.25
    dark_level: float = 16.0
    bright_level: float = 250.0
    dark_share: float = 0.8
    bright_share: float = 0.3
    least_contrast: float = 4.0
    exposure_s: float = 0.33
    hole_share: float = 0.5
    position_tolerance: float = 1e-3
    velocity_tolerance: float = 0.05
    idle_end_s: float = 1.5
    idle_s: float = 3.0
    kept_idle_s: float = 0.5
    least_duration_s: float = 0.5
    duplicate_rad: float = 5e-4
    duplicate_level: float = 3.0
    frequent_word: int = 3
    balance_episodes: int = 12
    largest_share: float = 0.6
    failure_share: float = 0.5
    outlier: float = 3.5
    outlier_ratio: float = 4.0
    start_rad: float = 0.5
    drop_below: float = 50.0

    def __post_init__(self) -> None:
        """Check that every value is a finite number above 0."""
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0.0 < value < float("inf"):
                raise UserError(f"threshold {item.name}: expected a number above 0, got {value}")

    @classmethod
    def load(cls, path: Path | None = None, settings: Sequence[str] = ()) -> Thresholds:
        """Return the defaults changed by a YAML file, and by settings such as `idle_s=5`.

        Raises:
            UserError: if there is no such threshold, or a value is no number; names it.
        """
        changes: dict[str, Any] = {}
        if path is not None:
            changes |= _read(path)
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals:
                raise UserError(f"threshold '{setting}': expected NAME=NUMBER, such as idle_s=5")
            changes[name.strip()] = value
        known = {item.name: type(getattr(cls(), item.name)) for item in fields(cls)}
        numbers: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise UserError(f"threshold '{name}' does not exist; there are {', '.join(known)}")
            try:
                numbers[name] = known[name](value)
            except (TypeError, ValueError):
                raise UserError(f"threshold {name}: expected a number, got {value!r}") from None
        return replace(cls(), **numbers)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected thresholds such as `idle_s: 5`, got {values!r}")
    return values
