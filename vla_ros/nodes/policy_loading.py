"""How the `policy` node comes by its policy."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.task import Future
from vla_ros_interfaces.srv import LoadPolicy

from vla_ros.contract import RobotContract
from vla_ros.core.errors import UserError
from vla_ros.core.protocols import Closable, Policy
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


class PolicyReplacement:
    """Serves `policy/load`: another policy is loaded beside the one that runs.

    That one goes on meanwhile, and stays if the other cannot be loaded.
    """

    def __init__(
        self, node: Node, load: Callable[[str], Policy], running: Callable[[], Policy]
    ) -> None:
        """Serve for `node`; `load` makes a policy of a path, `running` is what runs now."""
        self._node, self._load, self._running = node, load, running
        self._loaded: queue.SimpleQueue[Policy] = queue.SimpleQueue()
        aside = ReentrantCallbackGroup()  # sensors are not to wait for a policy that is loaded
        node.create_service(LoadPolicy, "policy/load", self._on_load, callback_group=aside)

    def take(self) -> Policy | None:
        """Return the policy that is to run from now on; None if none was loaded since.

        Of several, the last one counts, and the others are closed.
        """
        newest: Policy | None = None
        while True:
            try:
                loaded = self._loaded.get_nowait()
            except queue.Empty:
                return newest
            close(newest)
            newest = loaded

    def close(self) -> None:
        """Free what was loaded and never ran."""
        close(self.take())

    async def _on_load(
        self, request: LoadPolicy.Request, response: LoadPolicy.Response
    ) -> LoadPolicy.Response:
        future: Future = Future(executor=self._node.executor)
        threading.Thread(
            target=self._load_aside, args=(request.path, future), name="loading", daemon=True
        ).start()
        loaded: Policy | Exception = await future
        response.success = not isinstance(loaded, Exception)
        if isinstance(loaded, Exception):
            response.message = str(loaded)
            response.bundle_sha256 = self._running().bundle_sha256
        else:
            response.message = f"{loaded.name} runs"
            response.bundle_sha256 = loaded.bundle_sha256
            self._loaded.put(loaded)
        return response

    def _load_aside(self, path: str, future: Future) -> None:
        try:
            future.set_result(self._load(path))
        except Exception as error:  # noqa: BLE001 the client is told whatever it was
            cause = str(error) if isinstance(error, UserError) else repr(error)
            self._node.get_logger().error(f"policy/load: {cause}")
            future.set_result(error)


def close(policy: object) -> None:
    """Free what a policy holds that nobody asks any more; nothing of one that holds nothing."""
    if isinstance(policy, Closable):
        policy.close()
