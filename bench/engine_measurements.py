"""Rows of the README's table about engines, latency and serving."""

from __future__ import annotations

from measurement import Measurement, Results


def _engines(results: Results) -> str:
    over = results["over_torch"]
    success = results["success"]
    return (
        f"fp32 **{results['fp32_over_torch']:.1f} ×** (OpenVINO; ONNX Runtime "
        f"{over['onnxruntime']:.1f} ×), bf16 {over['openvino_bf16']:.1f} ×; int8 "
        f"**{results['int8_over_fp32']:.1f} ×** over fp32; parity {results['parity_max']:.0e}; "
        f"{100 * success['fp32']:.1f} % before, {100 * success['int8']:.1f} % in int8, "
        f"{success['episodes']} episodes"
    )


def _stages(results: Results) -> str:
    overhead = results["overhead"]
    return f"**{overhead['p50_ms']:.1f} ms** p50, {overhead['p99_ms']:.1f} ms p99"


def _latency(results: Results) -> str:
    cells = results["cells"]
    kept = ", ".join(
        f"{name.replace('_', ' ')} {100 * cells[name]['200']['kept']:.0f} %"
        for name in ("real_time", "real_time_trained", "ensemble", "asynchronous", "synchronous")
    )
    jerk = cells["real_time"]["200"]["times_lowest_rival_jerk"]
    return (
        f"kept at 200 ms: {kept}; jerk of real time **{jerk:.2f} ×** that of the smoothest other; "
        f"{results['episodes']} scenes a cell"
    )


def _fleet(results: Results) -> str:
    policy, paced, killed = results["policy"], results["paced"], results["killed_of_two"]
    return (
        f"**{policy['gain']:.1f} ×**, {policy['best_per_s']['batched']:.0f} inferences/s; "
        f"p99 **{paced['p99_over_p50']:.1f} ×** p50; a replica of two killed: "
        f"**{killed['moving_without_chunk']}** ticks in motion without a chunk, "
        f"{killed['outage_max_ms']:.0f} ms without a new one at most"
    )


ENGINE_MEASUREMENTS = (
    Measurement(
        name="engine",
        what="same weights, batch 1, 2 CPU threads, over torch eager",
        command="bench/engine.py --episodes 200",
        musts="bench/engine.py",
        must="≥ 2.5 × (4); int8 ≥ 1.5 × (2) over fp32; fp32 within 1e-4; int8 loses ≤ 1 point",
        shown=_engines,
    ),
    Measurement(
        name="stages",
        what="around the model, two 640×480 RGB-D cameras (`bench/engine.py --stages`)",
        command="bench/stages.py",
        musts="bench/engine.py --stages",
        must="≤ 4 ms p50 (1.5)",
        shown=_stages,
    ),
    Measurement(
        name="latency-hiding",
        what="an inference that takes 200 ms",
        command="bench/latency_hiding.py --policy out/tabletop-flow",
        musts="bench/latency_hiding.py",
        must="real time keeps ≥ 95 % of its success, lowest jerk (at 300 ms too)",
        shown=_latency,
    ),
    Measurement(
        name="fleet",
        what="1 to 32 robots on one server, batched over unbatched",
        command="bench/fleet.py",
        musts="bench/fleet.py",
        must="≥ 2 ×; p99 ≤ 3 × p50; nobody moves without a valid chunk",
        shown=_fleet,
    ),
)
