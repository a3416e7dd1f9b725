"""What the README's table shows: one measurement a row, its command, its must, its cell."""

from __future__ import annotations

from data_measurements import DATA_MEASUREMENTS
from engine_measurements import ENGINE_MEASUREMENTS
from measurement import Measurement, Results


def _success(results: Results) -> str:
    low, high = 100 * results["success_low"], 100 * results["success_high"]
    skills = ", ".join(f"{name} {100 * rate:.0f}" for name, rate in results["per_skill"].items())
    return (
        f"**{100 * results['success']:.1f} %** of {results['episodes']} "
        f"({low:.1f} to {high:.1f}); {skills}"
    )


def _kills(results: Results) -> str:
    nodes = {name: results[name] for name in ("policy", "planner", "sim")}
    held = max(node["hold_after_chunk_end_ms"] for node in nodes.values())
    when = f"at most {held:.0f} ms after" if held > 0 else f"{-held:.0f} ms or more before"
    back = max(node["back_after_s"] for node in nodes.values())
    good = all(node["came_back"] and node["next_goal_succeeded"] for node in nodes.values())
    return (
        f"stands still **{when}** the chunk's end; back within {back:.1f} s; next goals "
        f"{'succeed' if good else 'FAIL'}"
    )


def _through_ros(results: Results) -> str:
    return (
        f"**{100 * results['success']:.1f} %** through ROS, "
        f"{100 * results['direct_success']:.1f} % directly, {results['episodes']} episodes"
    )


def _control(results: Results) -> str:
    return (
        f"{results['gate_rate_hz']:.1f} Hz, p99 jitter "
        f"**{results['gate_jitter_p99_ms']:.2f} ms**; policy "
        f"**{results['policy_rate_hz']:.1f} Hz**; sensor to command p99 "
        f"**{results['sensor_to_command_p99_ms']:.0f} ms**"
    )


def _frames(results: Results) -> str:
    good, bad = results["with_profile"], results["without_profile"]
    named = bad["loss_named"] and bad["cure_named"]
    return (
        f"with: **{100 * good['delivered']:.1f} %**, p99 {good['p99_ms']:.1f} ms; without: "
        f"{100 * bad['delivered']:.0f} %, loss and cure {'named' if named else 'NOT named'}"
    )


def _lost(results: Results) -> str:
    return (
        f"**{results['points_lost']:.1f}** points lost ({results['points_lost_low']:.1f} to "
        f"{results['points_lost_high']:.1f}) of {100 * results['success_with_everything']:.1f} %"
    )


def _reasoning(results: Results) -> str:
    suites = ", ".join(
        f"{name} {100 * row['success']:.0f} ({100 * row['chance']:.0f}, "
        f"{100 * row['text_only']:.0f})"
        for name, row in results["suites"].items()
    )
    return f"**{100 * results['mean']:.1f} %** of {results['episodes']} each; {suites}"


def _refusal(results: Results) -> str:
    return (
        f"**{100 * results['absent_refused']:.1f} %** of absent, "
        f"**{100 * results['present_refused']:.1f} %** of present refused, AUROC "
        f"**{results['auroc']:.3f}**, {results['episodes']} episodes"
    )


def _robustness(results: Results) -> str:
    rows = sorted(results["robustness"].items(), key=lambda row: -row[1]["points_lost"])
    worst = ", ".join(f"{name} {row['points_lost']:.0f}" for name, row in rows[:4])
    small = sum(row["points_lost"] <= 5 for _, row in rows)
    return (
        f"**{small}** of {len(rows)} cost at most 5 points; most: {worst}; "
        f"{results['episodes']} episodes each"
    )


def _fusions(results: Results) -> str:
    rates = {}
    for name in dict.fromkeys(row["fusion"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["fusion"] == name]
        rates[name] = [sum(r[key] for r in rows) / len(rows) for key in ("success", "reasoning")]
    shown = ", ".join(f"{name} {100 * a:.0f}/{100 * b:.0f}" for name, (a, b) in rates.items())
    return f"core/reasoning [%], {results['seeds']} seeds: {shown}"


def _in_context(results: Results) -> str:
    cases = next(iter(results["policies"].values()))["cases"]
    new, named = (_gain(cases[name]) for name in ("new_sounds", "named"))
    return f"unseen pairs by a new word: {new}; by their name: {named}; {results['scenes']} scenes"


def _gain(case: Results) -> str:
    gain, low, high = (100 * case[key] for key in ("gain", "gain_low", "gain_high"))
    before, after = (100 * case["right"][count] for count in ("0", "4"))
    return (
        f"**{gain:+.1f}** points ({low:+.1f} to {high:+.1f}), {before:.0f} to {after:.0f} % right"
    )


EVAL = "vla_ros eval"
MEASUREMENTS = (
    Measurement(
        name="core",
        what="core suite, unseen scenes",
        command=f"{EVAL} --suite core --episodes 200",
        musts="vla_ros eval --suite core",
        must="≥ 93 %, each skill ≥ 85 % (98 %)",
        shown=_success,
    ),
    Measurement(
        name="core-1000",
        what="the same on 1,000 scenes that nobody looked at before",
        command=f"{EVAL} --suite core --episodes 1000 --seed 7000000",
        musts="vla_ros eval --suite core --episodes 1000",
        must="≥ 98.5 %, the policy before the grounding",
        shown=_success,
    ),
    Measurement(
        name="phrasing",
        what="unseen phrasings",
        command=f"{EVAL} --split phrasing --episodes 200",
        musts="vla_ros eval --split phrasing",
        must="≥ 88 % (95 %)",
        shown=_success,
    ),
    Measurement(
        name="everyday",
        what="everyday sentences of somebody who had seen neither",
        command=f"{EVAL} --phrasings bench/phrasings/everyday.yaml --episodes 300",
        musts="vla_ros eval --split phrasing",
        must="the same",
        shown=_success,
    ),
    Measurement(
        name="combination",
        what="unseen colour-shape pairs",
        command=f"{EVAL} --split combination --episodes 200",
        musts="vla_ros eval --split combination",
        must="≥ 80 % (92 %)",
        shown=_success,
    ),
    Measurement(
        name="ablation",
        what="shuffled instructions: the words decide",
        command=f"{EVAL} --ablate instruction --episodes 200",
        musts="vla_ros eval --ablate instruction",
        must="below 40 %",
        shown=lambda results: f"**{100 * results['success']:.1f} %** of {results['episodes']}",
    ),
    *(
        Measurement(
            name=f"without-{sensor}",
            what=f"{what} lost",
            command=f"{EVAL} --without {sensor} --episodes 200",
            musts=f"vla_ros eval --without {sensor}",
            must=f"≤ {points} points lost",
            shown=_lost,
        )
        for sensor, what, points in (
            ("depth", "both depth cameras", 10),
            ("imu", "the IMU", 3),
            ("wrist", "the wrist camera", 20),
        )
    ),
    Measurement(
        name="reasoning",
        what="reasoning suites; in brackets a guess, and words alone",
        command=f"{EVAL} --suite reasoning --episodes 60",
        musts="vla_ros eval --suite reasoning",
        must="each ≥ twice a guess and above words alone; mean ≥ 70 % (90 %)",
        shown=_reasoning,
    ),
    Measurement(
        name="absent",
        what="what is not on the table is refused",
        command=f"{EVAL} --suite absent --episodes 200 --no-text-only",
        musts="vla_ros eval --suite absent",
        must="≥ 90 % of absent, ≤ 5 % of present, AUROC ≥ 0.95",
        shown=_refusal,
    ),
    Measurement(
        name="robustness",
        what="23 disturbances, each by itself",
        command=f"{EVAL} --suite robustness --episodes 100",
        musts="vla_ros eval --suite robustness",
        must="depth, IMU, wrist as above",
        shown=_robustness,
    ),
    Measurement(
        name="fusion",
        what="seven fusions, same data, steps and parameters",
        command="bench/fusion.py out/fusion",
        musts="bench/fusion.py",
        must="all seven, ≥ 2 seeds, ≥ 100 episodes",
        shown=_fusions,
    ),
    Measurement(
        name="in-context",
        what="none against four demonstrations",
        command="bench/in_context.py",
        musts="bench/in_context.py",
        must="a gain that its interval does not deny, or the finding that there is none",
        shown=_in_context,
    ),
    Measurement(
        name="explanation",
        what="deletion test",
        command="bench/explanation.py",
        musts="bench/explanation.py",
        must="important beats random, p < 0.01",
        shown=lambda r: f"**p = {r['p_value']:.0e}**, {r['scenes']} scenes",
    ),
    Measurement(
        name="data-parallel",
        what="two processes against one: the same loss curve",
        command="bench/data_parallel.py",
        musts="bench/data_parallel.py",
        must="within noise",
        shown=lambda r: (
            f"**{'within' if r['within_noise'] else 'beyond'}** noise; "
            f"means of {r['seeds']} seeds at most **{100 * r['largest_apart']:.1f} %** apart"
        ),
    ),
    Measurement(
        name="through-ros",
        what="through the nodes, in real time",
        command=f"{EVAL} --through-ros --episodes 60",
        musts="vla_ros eval --through-ros",
        must="within 8 points of direct (equal)",
        shown=_through_ros,
    ),
    Measurement(
        name="control-loop",
        what="rates and latency, everything on 2 cores",
        command="bench/control_loop.py",
        musts="bench/control_loop.py",
        must="100 Hz, p99 ≤ 2 ms (1); ≥ 15 Hz (30); p99 ≤ 120 ms (60)",
        shown=_control,
    ),
    Measurement(
        name="transport",
        what="two 640×480 RGB-D cameras at 30 Hz, Fast DDS profile",
        command="bench/transport.py",
        musts="bench/transport.py",
        must="with: ≥ 99.5 % (100 %), p99 ≤ 25 ms; without: loss and cure named",
        shown=_frames,
    ),
    Measurement(
        name="kill-nodes",
        what="kill -9 of policy, planner, sim in motion",
        command="bench/kill_nodes.py",
        musts="bench/kill_nodes.py",
        must="holds ≤ 100 ms after the chunk's end, comes back, next goal works",
        shown=_kills,
    ),
    Measurement(
        name="gate-tick",
        what="a hostile stream of chunks",
        command="bench/gate_tick.py",
        musts="bench/gate_tick.py",
        must="0 limits broken",
        shown=lambda r: f"**{r['violations']}** in {r['commands']:,} commands",
    ),
    *ENGINE_MEASUREMENTS,
    *DATA_MEASUREMENTS,
    Measurement(
        name="make-demo",
        what="`make demo` in a clean clone, and again",
        command="bench/fresh_clone.py demo",
        musts="make demo",
        must="≤ 5 min (2), ≤ 45 s (20)",
        shown=lambda r: f"**{r['first_s']:.0f} s**, **{r['second_s']:.0f} s**",
    ),
    Measurement(
        name="make-test",
        what="`make test` in a clean clone",
        command="bench/fresh_clone.py test",
        musts="make test",
        must="≤ 20 min (8)",
        shown=lambda r: f"**{r['first_s'] / 60:.1f} min**",
    ),
)
