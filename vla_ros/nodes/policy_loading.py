"""How the `policy` node comes by its policy."""

from __future__ import annotations

from rclpy.impl.rcutils_logger import RcutilsLogger

from vla_ros.contract import RobotContract
from vla_ros.core.protocols import Policy
from vla_ros.engine.adaptive import AdaptivePolicy
from vla_ros.engine.conflicts import describe_conflict
from vla_ros.nodes.policy_parameters import PolicyParameters
from vla_ros.ros.engine_findings import engine_findings
from vla_ros.ros.policy_backends import load_opening


def load_policy(
    bundle: str, contract: RobotContract, settings: PolicyParameters, log: RcutilsLogger
) -> Policy:
    """Return the policy of a bundle directory; the log says what runs it.

    Raises:
        BundleError: if a file is missing or corrupted (named), or it is of another contract.
        EngineError: if the wanted backend cannot run it, and no fallback was asked for.
    """
    policy, differences = load_opening()(
        bundle,
        contract,
        backend=settings.backend,
        fallback=settings.fallback,
        threads=settings.threads,
        cpus=settings.cpus,
        allow_differences=settings.allow_differences,
    )
    for difference in differences:
        if difference.breaking:
            log.warning(f"allowed: {difference}")
    log.info(f"policy '{policy.name}', bundle {policy.bundle_sha256[:12]}")
    for finding in engine_findings(policy):
        for graph, runs in finding.values.items():
            log.info(f"{graph} on {runs}")
    if conflict := describe_conflict():  # the language encoder runs on it, whatever the backend
        log.warning(conflict)
    return AdaptivePolicy(policy) if settings.adaptive else policy
