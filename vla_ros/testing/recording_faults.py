"""Faults planted in good recordings that look like real ones: what a checker has to find."""

from __future__ import annotations

import array
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from vla_ros.data.episode import CONTRACT, DESCRIPTION, message_files, read_episode, write_episode
from vla_ros.data.message_file import RecordedMessage
from vla_ros.ros.stamps import to_time
from vla_ros.testing.recording_realism import (
    COMMANDS,
    FRONT,
    FRONT_DEPTH,
    IMU,
    INSTRUCTION,
    JOINTS,
    WRIST,
    WRIST_DEPTH,
    Sensors,
    later,
    punch_holes,
    rewrite,
)
from vla_ros.testing.recordings import EPOCH_NS, Spoil, record_simulated

Edit = Callable[[Path, Generator], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong in an episode.

    Attributes:
        name: What it is.
        check: Name of the check that has to find it.
        listed: Whether the checks that were asked for name it, which is what the must is about.
        spoil: Makes what changes the messages as they are recorded, of random numbers and of when
            the episode begins [ns]; None if nothing does.
        edit: Changes the episode's folder afterwards; None if nothing does.
    """

    name: str
    check: str
    listed: bool = True
    spoil: Callable[[Generator, int], Spoil] | None = None
    edit: Edit | None = None


def record_realistic(
    recording: Path, seeds: Sequence[int], faults: Sequence[Fault | None] = ()
) -> list[Path]:
    """Record simulated episodes as real sensors would have; plant faults in some.

    Args:
        recording: Folder of the recording; made, or added to.
        seeds: Of the scenes, one per episode.
        faults: What goes wrong in each; None for nothing, as in those behind the last.
    """
    folders = []
    for index, seed in enumerate(seeds):
        rng, fault = np.random.default_rng((seed, 7)), None
        if index < len(faults):
            fault = faults[index]
        spoils: list[Spoil] = [Sensors(rng)]
        if fault is not None and fault.spoil is not None:
            number = len(list(recording.glob("episode_*")))
            spoils.append(fault.spoil(rng, EPOCH_NS + number * 60_000_000_000))
        (folder,) = record_simulated(recording, [seed], spoil=_in_turn(spoils))
        rewrite(folder, list)  # a recorder writes what comes in the order that it comes in
        if fault is not None and fault.edit is not None:
            fault.edit(folder, rng)
        folders.append(folder)
    return folders


def _in_turn(spoils: Sequence[Spoil]) -> Spoil:
    def spoil(topic: str, message: Any, now_ns: int) -> tuple[Any, int] | None:
        for each in spoils:
            changed = each(topic, message, now_ns)
            if changed is None:
                return None
            message, now_ns = changed
        return message, now_ns

    return spoil


def _only(topic: str, from_s: float, until_s: float, change: Spoil, start_ns: int) -> Spoil:
    """Return what changes one topic for some time."""

    def spoil(name: str, message: Any, now_ns: int) -> tuple[Any, int] | None:
        inside = from_s <= 1e-9 * (now_ns - start_ns) < until_s
        return change(name, message, now_ns) if name == topic and inside else (message, now_ns)

    return spoil


#: End of what never ends [s]. What begins does so early: the shortest episodes take 0.9 s.
ALWAYS = 1e9


def _slow(rng: Generator, start_ns: int) -> Spoil:
    kept = iter(range(10**9))
    return _only(FRONT, 0.0, ALWAYS, lambda t, m, n: (m, n) if next(kept) % 2 else None, start_ns)


def _hole(rng: Generator, start_ns: int) -> Spoil:
    begin = rng.uniform(0.1, 0.4)
    return _only(JOINTS, begin, begin + 0.4, lambda t, m, n: None, start_ns)


def _drops(rng: Generator, start_ns: int) -> Spoil:
    return _only(
        WRIST, 0.0, ALWAYS, lambda t, m, n: None if rng.random() < 0.15 else (m, n), start_ns
    )


def _stamped(topic: str, from_s: float, by_s: float) -> Callable[[Generator, int], Spoil]:
    """Return what stamps a topic wrongly from some time on."""

    def plant(rng: Generator, start_ns: int) -> Spoil:
        def change(name: str, message: Any, now_ns: int) -> tuple[Any, int]:
            stamp = message.header.stamp
            true_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
            message.header.stamp = to_time(true_ns + round(1e9 * by_s))
            return message, now_ns

        return _only(topic, from_s, ALWAYS, change, start_ns)

    return plant


def _late_joints(rng: Generator, start_ns: int) -> Spoil:
    """Joint states that are stamped, and come, late: a slow bus before the driver's stamp."""
    stamp = _stamped(JOINTS, -1.0, 0.2)(rng, start_ns)

    def spoil(topic: str, message: Any, now_ns: int) -> tuple[Any, int] | None:
        changed = stamp(topic, message, now_ns)
        if topic != JOINTS or changed is None:
            return changed
        return changed[0], changed[1] + 200_000_000

    return spoil


def _frozen(rng: Generator, start_ns: int) -> Spoil:
    seen: list[Any] = []
    begin = rng.uniform(0.1, 0.3)

    def change(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
        seen.append(message.data)
        message.data = seen[0]
        return message, now_ns

    return _only(FRONT, begin, begin + 0.6, change, start_ns)


def _exposed(topic: str, from_s: float, until_s: float, factor: float) -> Any:
    def change(name: str, message: Any, now_ns: int) -> tuple[Any, int]:
        pixels = np.frombuffer(message.data, np.uint8) * factor
        message.data = array.array("B", np.minimum(pixels, 255).astype(np.uint8).tobytes())
        return message, now_ns

    return lambda rng, start_ns: _only(topic, from_s, until_s, change, start_ns)


def _spike(rng: Generator, start_ns: int) -> Spoil:
    left = [1]

    def change(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
        if left:
            left.pop()
            message.data[int(rng.integers(5))] += 0.4
        return message, now_ns

    return _only(COMMANDS, rng.uniform(0.1, 0.6), ALWAYS, change, start_ns)


def _silent_imu(rng: Generator, start_ns: int) -> Spoil:
    return _only(IMU, 0.3, ALWAYS, lambda t, m, n: None, start_ns)


def _holes(rng: Generator, start_ns: int) -> Spoil:
    def change(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
        punch_holes(message, 0.7, rng)
        return message, now_ns

    return _only(FRONT_DEPTH, 0.2, ALWAYS, change, start_ns)


def _smaller(rng: Generator, start_ns: int) -> Spoil:
    def change(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        half = np.ascontiguousarray(pixels[::2, ::2])
        message.height, message.width, message.step = *half.shape[:2], 3 * half.shape[1]
        message.data = array.array("B", half.tobytes())
        return message, now_ns

    return _only(FRONT, 0.4, ALWAYS, change, start_ns)


def _covered(rng: Generator, start_ns: int) -> Spoil:
    def change(topic: str, message: Any, now_ns: int) -> tuple[Any, int]:
        noise = rng.normal(60.0, 1.0, len(message.data))
        message.data = array.array("B", noise.astype(np.uint8).tobytes())
        return message, now_ns

    return _only(WRIST, 0.0, ALWAYS, change, start_ns)


def _copied(folder: Path, rng: Generator) -> None:
    """Add the episode a second time, an hour later."""
    count = len(list(folder.parent.glob("episode_*")))
    copy = folder.parent / f"episode_{count:06d}"
    shutil.copytree(folder, copy)
    (path,) = message_files(copy)
    path.rename(copy / f"{copy.name}_0.mcap")
    rewrite(copy, lambda messages: [later(item, 3_600_000_000_000) for item in messages])
    write_episode(copy, replace(read_episode(copy), number=count))


def _resting(folder: Path, rng: Generator) -> None:
    """Let 2.5 s go by in which nothing happens."""

    def change(messages: list[RecordedMessage]) -> list[RecordedMessage]:
        end_ns, rest = max(item.log_ns for item in messages), []
        for topic in (FRONT, WRIST, FRONT_DEPTH, WRIST_DEPTH, JOINTS, IMU, COMMANDS):
            last = [item for item in messages if item.topic == topic][-1]
            period_ns = 33_333_333 if topic.startswith("/camera") else 10_000_000
            count = (end_ns + 2_500_000_000 - last.log_ns) // period_ns
            rest += [later(last, (index + 1) * period_ns) for index in range(count)]
        return messages + rest

    rewrite(folder, change)


def _misspelt(folder: Path, rng: Generator) -> None:
    """Swap two letters in the longest word of the instruction."""
    path = folder / DESCRIPTION
    values = json.loads(path.read_text(encoding="utf-8"))
    text = values["instruction"]
    word = max(text.split(), key=lambda each: len(each.strip(".,!?")))
    at = next(i for i in range(1, len(word) - 1) if word[i] != word[i + 1])
    wrong = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    values["instruction"] = text.replace(word, wrong)
    path.write_text(json.dumps(values), encoding="utf-8")

    def change(messages: list[RecordedMessage]) -> list[RecordedMessage]:
        return [
            replace(item, data=item.data.replace(text.encode(), values["instruction"].encode()))
            if item.topic == INSTRUCTION
            else item
            for item in messages
        ]

    rewrite(folder, change)


def _cut(folder: Path, rng: Generator) -> None:
    (path,) = message_files(folder)
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])


def _damaged(folder: Path, rng: Generator) -> None:
    """Overwrite a kilobyte in the middle."""
    (path,) = message_files(folder)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1024] = rng.bytes(1024)
    path.write_bytes(data)


def _never_stopped(folder: Path, rng: Generator) -> None:
    """Repeat the motion five times over: the operator went on and nobody pressed stop."""

    def change(messages: list[RecordedMessage]) -> list[RecordedMessage]:
        length = max(item.log_ns for item in messages) - min(item.log_ns for item in messages)
        length += 10_000_000
        return [later(item, turn * length) for turn in range(6) for item in messages]

    rewrite(folder, change)


def _foreign(folder: Path, rng: Generator) -> None:
    path = folder / CONTRACT
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("velocity: 2.5", "velocity: 3.5"), encoding="utf-8")


FAULTS: tuple[Fault, ...] = (
    Fault(name="camera at half its rate", check="rate", spoil=_slow),
    Fault(name="0.4 s without joint states", check="gap", spoil=_hole),
    Fault(name="15 % of the wrist's frames lost", check="drops", spoil=_drops),
    Fault(name="wrist's stamps 90 ms old", check="skew", spoil=_stamped(WRIST, -1.0, -0.09)),
    Fault(name="joint states 0.2 s late", check="lag", spoil=_late_joints),
    Fault(name="front camera frozen for 0.6 s", check="frozen", spoil=_frozen),
    Fault(
        name="wrist burnt out for 0.8 s", check="overexposed", spoil=_exposed(WRIST, 0.1, 0.9, 6.0)
    ),
    Fault(
        name="front camera dark", check="underexposed", spoil=_exposed(FRONT, 0.0, ALWAYS, 1 / 16)
    ),
    Fault(name="one command 0.4 rad away", check="limits", spoil=_spike),
    Fault(name="episode there twice", check="duplicate", edit=_copied),
    Fault(name="2.5 s of rest at the end", check="idle", edit=_resting),
    Fault(name="instruction misspelt", check="typo", edit=_misspelt),
    Fault(name="IMU silent from 0.3 s on", check="silent", listed=False, spoil=_silent_imu),
    Fault(
        name="joints' clock set back 60 ms", check="order", listed=False,
        spoil=_stamped(JOINTS, 0.4, -0.06),
    ),
    Fault(
        name="wrist depth by another clock", check="clock", listed=False,
        spoil=_stamped(WRIST_DEPTH, -1.0, -37.0),
    ),
    Fault(name="70 % of the depth holes", check="holes", listed=False, spoil=_holes),
    Fault(name="two resolutions", check="format", listed=False, spoil=_smaller),
    Fault(name="something before the lens", check="blank", listed=False, spoil=_covered),
    Fault(name="file cut off", check="cut", listed=False, edit=_cut),
    Fault(name="file damaged", check="unreadable", listed=False, edit=_damaged),
    Fault(name="six times as long", check="outlier", listed=False, edit=_never_stopped),
    Fault(name="another contract", check="contract", listed=False, edit=_foreign),
)  # fmt: skip
