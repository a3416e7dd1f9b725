"""The base of every node: one place that owns bring-up, teardown and what happens on an error."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any, ClassVar

from lifecycle_msgs.srv import ChangeState
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer

from vla_ros.core.conventions import NAMESPACE
from vla_ros.core.errors import UserError
from vla_ros.ros.parameters import ParameterError


class ManagedNode(LifecycleNode):
    """A lifecycle node whose subclasses fill four hooks with plain Python that may raise.

    `setup` (configure), `start` (activate), `stop` (deactivate) and `teardown` (cleanup). `stop`
    and `teardown` must bear being called after half a `start` or `setup`. An exception becomes a
    failed transition: it is logged with its cause, and the node falls back to a state from which
    it can be tried again.
    """

    #: Name of the node when it is not remapped.
    default_name: ClassVar[str] = "node"

    def __init__(self) -> None:
        """Make the node under its default name in the namespace `/vla`, unless remapped."""
        super().__init__(
            self.default_name,
            namespace=NAMESPACE,
            automatically_declare_parameters_from_overrides=True,
        )
        self.failure: BaseException | None = None
        self.fatal: BaseException | None = None
        self._guard_transitions()
        self._own = set(self._entities())

    def setup(self) -> None:
        """Read parameters, load what is needed, make publishers and subscriptions."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self) -> None:
        """Stop working; leave the robot safe."""

    def teardown(self) -> None:
        """Undo `setup`; publishers, subscriptions, services and timers go by themselves."""

    def bring_up(self) -> None:
        """Configure and activate at once, as a node does that nobody else manages.

        Raises:
            UserError: if one of the two failed for a reason that the user can mend.
            RuntimeError: if it failed for another one.
        """
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                cause = self.failure
                if isinstance(cause, UserError):
                    raise cause
                raise RuntimeError(f"{self.get_name()}: bring-up failed: {cause}") from cause

    def start_thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        """Start a thread of the node; an exception that gets out of it ends the process."""

        def run() -> None:
            try:
                target()
            except Exception as error:  # noqa: BLE001 the thread's edge
                self.fail(error)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def fail(self, error: BaseException) -> None:
        """End the process because of an error in one of the node's own threads."""
        self.failure = self.fatal = error
        text = "".join(traceback.format_exception(error)).rstrip()
        self.get_logger().fatal(f"{error!r}; the node ends\n{text}")
        if self.executor is not None:
            self.executor.wake()

    @property
    def answering(self) -> int | None:
        """How many clients still wait for an answer after `stop`; None if none ever do."""
        return None

    def bring_down(self, answer: Callable[[], None] | None = None) -> None:
        """Stop and tear down from whatever state the node is in.

        Args:
            answer: Called in between, to spin the node until its clients are answered.
        """
        for hook in (self.stop, answer, self._release):
            if hook is None:
                continue
            try:
                hook()
            except Exception as error:  # noqa: BLE001 teardown goes on whatever one part says
                self._say(f"{hook.__name__} failed while shutting down: {error!r}")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `setup`; undo it if it raises."""
        return self._attempt(self.setup, super().on_configure, state, undo=(self._release,))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `start`; stop again if it raises."""
        return self._attempt(self.start, super().on_activate, state, undo=(self.stop,))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `stop`."""
        return self._attempt(self.stop, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `teardown`."""
        return self._attempt(self._release, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and tear down."""
        self.bring_down()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Tear down and go back to unconfigured, so that it can be tried again."""
        self.bring_down()
        return TransitionCallbackReturn.SUCCESS

    def _entities(self) -> list[Any]:
        return [*self.timers, *self.subscriptions, *self.services, *self.publishers]

    def _release(self) -> None:
        """Run `teardown` and destroy whatever `setup` has made."""
        try:
            self.teardown()
        finally:
            for entity in self._entities():
                if entity not in self._own:
                    self._destroy(entity)

    def _destroy(self, entity: Any) -> None:
        if isinstance(entity, Timer):
            self.destroy_timer(entity)
        elif isinstance(entity, Subscription):
            self.destroy_subscription(entity)
        elif isinstance(entity, Service):
            self.destroy_service(entity)
        else:
            self.destroy_publisher(entity)

    def _attempt(
        self,
        hook: Callable[[], None],
        transition: Callable[[LifecycleState], TransitionCallbackReturn],
        state: LifecycleState,
        undo: tuple[Callable[[], None], ...] = (),
    ) -> TransitionCallbackReturn:
        try:
            hook()
            return transition(state)
        except Exception as error:  # noqa: BLE001 the edge: exceptions become transition results
            self.failure = error
            for step in undo:
                try:
                    step()
                except Exception as second:  # noqa: BLE001 the first error is the one that counts
                    self._say(f"{step.__name__} failed after {hook.__name__}: {second!r}")
            expected = isinstance(error, UserError | ParameterError)
            self._say(f"{error}" if expected else f"{hook.__name__} failed: {error!r}")
            failure = TransitionCallbackReturn.FAILURE
            return failure if expected else TransitionCallbackReturn.ERROR

    def _guard_transitions(self) -> None:
        """Answer an impossible transition with `success=False`.

        rclpy (7.1.6) lets the RCLError out of `spin`: one wrong request would end the node, and
        the client would never be answered.
        """
        service = self._service_change_state
        inner: Callable[[Any, Any], Any] = service.callback

        def change_state(request: Any, response: ChangeState.Response) -> ChangeState.Response:
            try:
                return inner(request, response)
            except rclpy_implementation.RCLError as error:
                wanted = request.transition.label or request.transition.id
                current = self._state_machine.current_state[1]
                reason = str(error).splitlines()[0]
                self._say(f"transition '{wanted}' refused in state '{current}': {reason}")
                response.success = False
                return response

        service.callback = change_state

    def _say(self, text: str) -> None:
        self.get_logger().error(text)
