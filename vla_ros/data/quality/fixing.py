"""Carries out what is to be mended: into another folder, one episode after the other.

output/
  episode_000000/     as it was, or mended; `extra.fixes` of its episode.json says what was done
  discarded/          what was dropped
  fixes.jsonl         what was done to each; by it a run that was stopped goes on
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vla_ros.core.errors import UserError
from vla_ros.data.episode import DISCARDED, Episode, State, read_episode
from vla_ros.data.episode_index import ACTING, INSTRUCTION, has_header, stamp_of
from vla_ros.data.journal import Journal
from vla_ros.data.message_file import RecordedMessage
from vla_ros.data.quality.fix_plan import EpisodeFix
from vla_ros.data.quality.stamps import with_stamp
from vla_ros.data.storage import fingerprint
from vla_ros.data.tools.episode_copy import Change, copy_episode

JOURNAL, PARTIAL = "fixes.jsonl", ".partial"
#: Said once and in force from then on: trimming must not take them away.
LASTING = frozenset({INSTRUCTION, ACTING, "/tf_static", "/robot_description"})


def apply_fixes(fixes: Sequence[EpisodeFix], output: Path) -> Iterator[EpisodeFix]:
    """Write the mended recording; yield each fix once it is done. What is read is not changed.

    Raises:
        UserError: if the output is, or lies in, a recording that is read, or is of another run.
    """
    for fix in fixes:
        if output.resolve() in (fix.folder.resolve(), *fix.folder.resolve().parents):
            raise UserError(
                f"{output}: expected a folder apart from what is checked, which stays as it is"
            )
    if output.exists() and any(output.iterdir()) and not (output / JOURNAL).is_file():
        raise UserError(f"{output}: is not empty, and not of a run that was stopped; name another")
    output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(output / PARTIAL, ignore_errors=True)  # of a run that was killed
    sources = {"episodes": [str(fix.folder.resolve()) for fix in fixes]}
    journal = Journal(output / JOURNAL, sources)
    for fix, number in zip(fixes, _numbers(fixes), strict=True):
        mark = f"{fingerprint(str(fix.folder))} {list(fix.changes)}"
        if not journal.holds(str(fix.folder), mark):
            _write(fix, output, number)
            journal.add(
                str(fix.folder), mark, {"changes": list(fix.changes), "left": list(fix.left)}
            )
        yield fix


def _numbers(fixes: Sequence[EpisodeFix]) -> list[int]:
    """Return the number of each episode: its own, or the next free one if that is taken."""
    wanted = []
    for fix in fixes:
        try:
            wanted.append(read_episode(fix.folder).number)
        except UserError:
            wanted.append(-1)
    taken: set[int] = set()
    free, numbers = max([*wanted, 0]) + 1, []
    for number in wanted:
        if number in taken or number < 0:
            number, free = free, free + 1
        taken.add(number)
        numbers.append(number)
    return numbers


def _write(fix: EpisodeFix, output: Path, number: int) -> None:
    """Write one episode apart, and move it to its place once it is whole."""
    partial = output / PARTIAL
    place = output / DISCARDED if fix.dropped else output
    if fix.dropped:
        folder = partial / f"episode_{number:06d}"
        shutil.copytree(fix.folder, folder)  # as it is: it may be unreadable
    else:
        changes = fix.stamps or fix.receptions or fix.begin_ns or fix.end_ns or fix.completed
        change = Change(
            description=lambda episode: _describe(episode, fix),
            message=(lambda message: _change(message, fix)) if changes else None,
            damaged=fix.completed,
        )
        folder = copy_episode(fix.folder, partial, number, change)
    place.mkdir(exist_ok=True)
    target = place / folder.name
    shutil.rmtree(target, ignore_errors=True)  # of a run that ended before it was written down
    folder.rename(target)
    partial.rmdir()


def _describe(episode: Episode, fix: EpisodeFix) -> Episode:
    if not fix.changes:
        return episode
    done = [*episode.extra.get("fixes", ()), *fix.changes]
    if fix.completed and episode.state is not State.CUT:
        why = episode.cut or "the file ended within a message"
        episode = replace(episode, state=State.CUT, cut=why)
    return replace(
        episode,
        extra={**episode.extra, "fixes": done},
        start_ns=fix.begin_ns or episode.start_ns,
        end_ns=fix.end_ns or episode.end_ns,
    )


def _change(message: RecordedMessage, fix: EpisodeFix) -> RecordedMessage | None:
    begin_ns, end_ns = fix.begin_ns, fix.end_ns
    if end_ns is not None and message.log_ns > end_ns:
        return None
    if begin_ns is not None and message.log_ns < begin_ns:
        if message.topic not in LASTING:
            return None
        message = replace(message, log_ns=begin_ns, publish_ns=begin_ns)
    if by_ns := fix.receptions.get(message.topic, 0):
        message = replace(message, log_ns=message.log_ns + by_ns)
    by_ns = fix.stamps.get(message.topic, 0)
    if by_ns and has_header(message.type):
        message = replace(message, data=with_stamp(message.data, stamp_of(message.data) + by_ns))
    return message
