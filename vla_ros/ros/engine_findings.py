"""What the diagnostics say about the engines of a policy."""

from __future__ import annotations

from vla_ros.core.protocols import Policy, Reporting
from vla_ros.ros.diagnostics import OK, WARN, Finding


def engine_findings(policy: Policy) -> list[Finding]:
    """Return what runs each graph, and a warning while that is not what was wanted.

    A policy that does not say what runs it has no finding.
    """
    reports = policy.report_engines() if isinstance(policy, Reporting) else ()
    if not reports:
        return []
    reasons = {f"{report.graph}: {report.fallback}" for report in reports if report.fallback}
    return [
        Finding(
            name="engines",
            level=WARN if reasons else OK,
            message="; ".join(sorted(reasons)) or "ok",
            values={report.graph: report.runs for report in reports},
        )
    ]
