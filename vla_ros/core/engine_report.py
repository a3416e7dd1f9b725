"""What runs a policy, in words: the same for every kind of engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """What runs one graph of a policy.

    Attributes:
        graph: What it runs, by its file name.
        runs: Backend, version, precision and device, for example
            `onnxruntime 1.32.0, fp32 on CPU`.
        fallback: Why this is not what was wanted; "" if it is.
    """

    graph: str
    runs: str
    fallback: str = ""
