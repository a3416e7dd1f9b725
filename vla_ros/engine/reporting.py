"""Says in words what runs a graph."""

from __future__ import annotations

from vla_ros.core.engine_report import EngineReport
from vla_ros.engine.engine import EngineDescription


def report(description: EngineDescription) -> EngineReport:
    """Return what an engine is, and why it is not the wanted one if it is not."""
    found, notes = description, description.notes
    aside = [notes[name] for name in ("left_out", "fallback") if notes.get(name)]
    cpus = f" {notes['cpus']}" if notes.get("cpus") else ""
    return EngineReport(
        graph=found.graph,
        runs=f"{found.backend} {found.version}, {found.precision} on {found.device}{cpus}",
        fallback="; ".join(aside),
    )
