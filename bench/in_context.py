"""What demonstrations are worth that no weight was trained on: none against one to four.

python bench/in_context.py --policy models/tabletop-small --json bench/results/in_context.json

Every scene is new, and asked for one of its things: an unseen colour-shape pair called by its
name, or a pair, unseen or not, called by a word that means nothing. The demonstrations come from
other scenes that hold such a thing: each is what an expert's episode begins with, and where the
thing stood. Open loop, the policy is right if it looks at the thing that is meant; closed loop,
if it does what it is told. With and without demonstrations the scenes are the same.

`gain` is that of `new_sounds`: pair, word and the word's syllables are all unseen, so that without
demonstrations there is only a guess. `named_gain` is that of unseen pairs called by their name,
which words alone tell mostly. `misled` says what a prompt costs that is about another thing than
the instruction.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vla_ros.cli.measurement import conclude
from vla_ros.contract import load_contract
from vla_ros.core.errors import UserError
from vla_ros.engine.bundle_policy import BundlePolicy
from vla_ros.evaluation.episode import EpisodeResult
from vla_ros.evaluation.gain import Gain
from vla_ros.evaluation.in_context import COUNTS, Asked, Asker, Case
from vla_ros.evaluation.report import mean, share
from vla_ros.learning.questions import SYLLABLES
from vla_ros.policy.bundle import Bundle

COMMAND = "bench/in_context.py"
#: Syllables that no word of training can be put together of.
UNHEARD = ("blee", "choy", "grelp", "hewm", "jick", "quimp", "shrun", "snoo", "thorf", "yirsh")
CASES = (
    Case(name="named", about="Unseen pairs called by their name", split="combination"),
    Case(
        name="new_word",
        about="Unseen pairs called by a new word",
        split="combination",
        syllables=SYLLABLES,
    ),
    Case(
        name="new_sounds",
        about="Unseen pairs called by a new word of new syllables",
        split="combination",
        syllables=UNHEARD,
    ),
    Case(
        name="seen_new_word",
        about="Pairs known from training called by a new word",
        split="seeds",
        syllables=SYLLABLES,
    ),
    Case(
        name="seen_new_sounds",
        about="Pairs known from training called by a new word of new syllables",
        split="seeds",
        syllables=UNHEARD,
    ),
    Case(
        name="misled",
        about="Pairs known from training called by their name, with another thing demonstrated",
        split="seeds",
        misled=True,
    ),
)
HEADLINE, BESIDE = "new_sounds", "named"
CHANGE = f"{max(COUNTS)} demonstrations"
Row = dict[str, Any]
Played = tuple[EpisodeResult, EpisodeResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process does at a time: asks cases about a scene, or plays one of them."""

    policies: tuple[str, ...]
    cases: tuple[Case, ...]
    index: int
    closed: bool


def main() -> None:
    """Ask and play; print what came of it."""
    args = _arguments()
    policies = tuple(str(path) for path in args.policy or [Path("models/tabletop-small")])
    for policy in policies:
        _open(policy)  # a bundle that cannot be used is told before anything is asked
    asked = _ask_all(policies, args.scenes, args.workers)
    played = _play_all(policies, args.play or [BESIDE, HEADLINE], args.episodes, args.workers)
    results = summarize(policies, asked, played)
    sys.exit(
        conclude(COMMAND, results, json_path=args.json, check=args.check, table=_table(results))
    )


def summarize(
    policies: Sequence[str],
    asked: Mapping[str, Sequence[Sequence[Asked]]],
    played: Mapping[str, Sequence[Sequence[Played]]],
) -> Row:
    """Return rows by policy and case, and ahead of them what the musts look at.

    Args:
        policies: Bundles, the one that counts first.
        asked: By case, one entry per scene, of one answer per policy.
        played: Likewise, of two episodes per policy.
    """
    rows: dict[str, Row] = {
        policy: {
            "fusion": str(Bundle.open(policy).policy["fusion"]),
            "bundle_sha256": Bundle.open(policy).sha256,
            "cases": {
                case.name: _open_loop(case, [scene[at] for scene in asked[case.name]])
                for case in CASES
            },
            "closed": {
                case.name: _closed_loop(case, [scene[at] for scene in played[case.name]])
                for case in CASES
                if played.get(case.name)
            },
        }
        for at, policy in enumerate(policies)
    }
    first = rows[policies[0]]
    headline, beside = first["cases"][HEADLINE], first["cases"][BESIDE]
    return {
        **{key: headline[key] for key in ("gain", "gain_low", "gain_high")},
        **{f"named_{key}": beside[key] for key in ("gain", "gain_low", "gain_high")},
        # a gain, or none that is said to be none; harm is neither
        "gain_or_finding": bool(min(headline["gain_high"], beside["gain_high"]) >= 0),
        "finding": f"{headline['finding']} {beside['finding']}",
        "scenes": headline["scenes"],
        "policies": rows,
        "violations": sum(
            row["violations"] for each in rows.values() for row in each["closed"].values()
        ),
    }


def _open_loop(case: Case, answers: Sequence[Asked]) -> Row:
    none, most = min(COUNTS), max(COUNTS)
    gain = Gain.between([a.right[none] for a in answers], [a.right[most] for a in answers])
    return {
        "right": {str(count): share([a.right[count] for a in answers]) for count in COUNTS},
        **gain.to_dict(),
        "finding": gain.finding(case.about, CHANGE),
        "chance": mean([answer.chance for answer in answers]),
        "scenes": len(answers),
        "scenes_with_fewer": sum(answer.shown < most for answer in answers),
        "demonstrations_refused": sum(answer.refused for answer in answers),
    }


def _closed_loop(case: Case, pairs: Sequence[Played]) -> Row:
    before, after = zip(*pairs, strict=True)
    gain = Gain.between([r.success for r in before], [r.success for r in after])
    return {
        "success": {str(min(COUNTS)): gain.before, str(max(COUNTS)): gain.after},
        **gain.to_dict(),
        "finding": gain.finding(f"{case.about}, done", CHANGE),
        "moved_another": {
            str(min(COUNTS)): share([r.moved_another for r in before]),
            str(max(COUNTS)): share([r.moved_another for r in after]),
        },
        "refused": {
            str(min(COUNTS)): share([r.refused for r in before]),
            str(max(COUNTS)): share([r.refused for r in after]),
        },
        "chance": mean([result.chance for result in before]),
        "episodes": len(pairs),
        "violations": sum(result.violations for result in (*before, *after)),
    }


def _ask_all(policies: tuple[str, ...], scenes: int, workers: int) -> dict[str, list[list[Asked]]]:
    splits = tuple(dict.fromkeys(case.split for case in CASES))
    together = [tuple(case for case in CASES if case.split == split) for split in splits]
    jobs = [
        Job(policies=policies, cases=cases, index=index, closed=False)
        for cases in together
        for index in range(scenes)
    ]
    asked: dict[str, list[list[Asked]]] = {case.name: [] for case in CASES}
    for job, answers in zip(jobs, _do(jobs, workers, "scenes asked"), strict=True):
        for case, row in zip(job.cases, answers, strict=True):
            asked[case.name].append(row)
    return asked


def _play_all(
    policies: tuple[str, ...], names: Sequence[str], episodes: int, workers: int
) -> dict[str, list[list[Played]]]:
    jobs = [
        Job(policies=policies, cases=(case,), index=index, closed=True)
        for case in CASES
        if case.name in names
        for index in range(episodes)
    ]
    played: dict[str, list[list[Played]]] = {case.name: [] for case in CASES}
    for job, pairs in zip(jobs, _do(jobs, workers, "scenes played twice"), strict=True):
        played[job.cases[0].name].append(pairs)
    return played


def _do(jobs: Sequence[Job], workers: int, what: str) -> Iterator[Any]:
    """Yield what comes of each job, in their order."""
    console = Console(stderr=True, highlight=False)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for done, result in enumerate(pool.imap(_work, jobs), start=1):
            if done % 20 == 0 or done == len(jobs):
                console.print(f"{done} of {len(jobs)} {what}")
            yield result


def _work(job: Job) -> Any:
    asker = _asker(job.policies)
    if job.closed:
        return asker.play(job.cases[0], job.index)
    return asker.ask(job.cases, job.index)


@cache
def _asker(policies: tuple[str, ...]) -> Asker:
    """Load what a process needs once."""
    return Asker([_open(policy) for policy in policies])


def _open(policy: str) -> BundlePolicy:
    return BundlePolicy(policy, load_contract("tabletop_sim"))


def _table(results: Row) -> Table:
    counts = [str(count) for count in COUNTS]
    table = Table(
        *("policy", "case", *counts, "gain", "low", "high", "chance"),
        title=f"{COMMAND}: % right by demonstrations",
        title_justify="left",
        caption=results["finding"],
        caption_justify="left",
    )
    for policy, row in results["policies"].items():
        for loop, what in (("cases", "right"), ("closed", "success")):
            for name, case in row[loop].items():
                shown = case[what]
                table.add_row(
                    f"{policy} ({row['fusion']})",
                    name if loop == "cases" else f"{name}, done",
                    *(f"{100 * shown[c]:.0f}" if c in shown else "" for c in counts),
                    *(f"{100 * case[key]:+.0f}" for key in ("gain", "gain_low", "gain_high")),
                    f"{100 * case['chance']:.0f}",
                )
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--policy", type=Path, action="append", help="bundle; repeat it to compare some")
    add("--scenes", type=_count, default=200, help="that each case is asked about, open loop")
    add("--episodes", type=_count, default=60, help="that are played closed loop, each twice")
    add(
        "--play",
        action="append",
        choices=[case.name for case in CASES],
        help=f"case that is played; repeatable; {BESIDE} and {HEADLINE} if none is named",
    )
    add("--workers", type=_count, default=2, help="processes; results do not depend on it")
    add("--json", type=Path, help="write the results here")
    add("--check", action="store_true", help="exit with 1 if a must falls short")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return int(text)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"{COMMAND}: {error}")
