"""The `recorder` node: what the graph says, as episodes on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from std_srvs.srv import Trigger
from vla_ros_interfaces.msg import RecorderStatus
from vla_ros_interfaces.srv import LabelEpisode, SaveRecent, StartEpisode

from vla_ros.core.errors import UserError
from vla_ros.data.episode import Outcome
from vla_ros.data.recording.recorder import Recorder
from vla_ros.nodes.raw_topics import LOOK_S, RawTopics
from vla_ros.nodes.recorder_parameters import RecorderParameters
from vla_ros.ros.lifecycle import ManagedNode
from vla_ros.ros.parameters import ParameterError, declare_parameters
from vla_ros.ros.periodic import create_steady_timer
from vla_ros.ros.qos import latched_qos
from vla_ros.ros.running import main_of

#: An answer takes as long as the disk does, but no longer than this [s].
ANSWER_S = 30.0


class RecorderNode(ManagedNode):
    """Takes raw messages in one thread, writes them in another; the executor only answers.

    The recorder itself is free of ROS 2: `vla_ros.data.recording`.
    """

    default_name = "recorder"
    _recorder: Recorder | None = None
    _topics: RawTopics | None = None
    _taking: threading.Thread | None = None

    def setup(self) -> None:
        """Read the parameters, offer the services and the status."""
        self._asked = declare_parameters(self, RecorderParameters)
        try:
            self._settings = self._asked.settings()
        except ValueError as error:
            raise ParameterError(f"{self.get_fully_qualified_name()}: {error}") from error
        self._status = self.create_publisher(RecorderStatus, "recorder/status", latched_qos())
        self.create_service(StartEpisode, "recorder/start", self._on_start)
        self.create_service(Trigger, "recorder/stop", self._on_stop)
        self.create_service(LabelEpisode, "recorder/label", self._on_label)
        self.create_service(Trigger, "recorder/discard", self._on_discard)
        self.create_service(Trigger, "recorder/undo", self._on_undo)
        self.create_service(SaveRecent, "recorder/save_recent", self._on_save_recent)
        create_steady_timer(self, 1.0 / self._asked.status_rate_hz, self._publish_status)
        create_steady_timer(self, LOOK_S, self._look)

    def start(self) -> None:
        """Open the folder, mend what is in it, and listen."""
        recorder = self._recorder = Recorder(self._settings, self._now_ns, self.fail)
        self._topics = RawTopics(
            self,
            self._asked.wanted(self._settings),
            announce=recorder.add_topic,
            receive=recorder.receive,
            count_publishers=recorder.watch.set_publishers,
        )
        self._taking = self.start_thread("taking", self._topics.run)

    def stop(self) -> None:
        """End the episode, and stop listening."""
        topics, self._topics = self._topics, None
        recorder, self._recorder = self._recorder, None
        if topics is not None:
            topics.stop()
            if self._taking is not None:
                self._taking.join()
            topics.close()
        if recorder is not None:
            recorder.close()

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _on_start(
        self, request: StartEpisode.Request, response: StartEpisode.Response
    ) -> StartEpisode.Response:
        def ask(recorder: Recorder) -> Future[Any]:
            return recorder.begin(request.instruction.strip(), request.operator_name.strip())

        folder = self._answer(response, ask)
        response.path = str(folder or "")
        return self._tell(response, f"recording {folder}")

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        episode = self._answer(response, Recorder.end)
        if episode is None:
            return response
        count = sum(episode.topics.values())
        text = f"{episode.name}: {episode.duration_s:.1f} s, {count} messages"
        return self._tell(response, f"{text}; cut: {episode.cut}" if episode.cut else text)

    def _on_label(
        self, request: LabelEpisode.Request, response: LabelEpisode.Response
    ) -> LabelEpisode.Response:
        try:
            outcome = Outcome(request.outcome)
        except ValueError:
            known = ", ".join(f"'{item.value}'" for item in Outcome)
            response.message = f"outcome: expected one of {known}, got '{request.outcome}'"
            return response
        episode = self._answer(
            response, lambda recorder: recorder.label(outcome, request.text, request.number)
        )
        said = f"{episode.name}: {outcome.value or 'no outcome'}" if episode else ""
        return self._tell(response, said)

    def _on_discard(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        folder = self._answer(response, Recorder.discard)
        return self._tell(response, f"{folder} is discarded; recorder/undo takes it back")

    def _on_undo(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        folder = self._answer(response, Recorder.undo)
        return self._tell(response, f"{folder} is back")

    def _on_save_recent(
        self, request: SaveRecent.Request, response: SaveRecent.Response
    ) -> SaveRecent.Response:
        folder = self._answer(
            response,
            lambda recorder: recorder.save_recent(request.seconds, request.instruction.strip()),
        )
        response.path = str(folder or "")
        return self._tell(response, f"saved as {folder}")

    def _answer(self, response: Any, ask: Callable[[Recorder], Future[Any]]) -> Any:
        """Have the recorder do something; None, and why in the answer, if it cannot."""
        if self._recorder is None:
            response.success, response.message = False, "the recorder is not active"
            return None
        try:
            value = ask(self._recorder).result(ANSWER_S)
        except UserError as error:
            response.success, response.message = False, str(error)
            return None
        except TimeoutError:
            response.success = False
            response.message = f"the disk has not taken it within {ANSWER_S:g} s"
            return None
        response.success = True
        return value

    def _tell(self, response: Any, text: str) -> Any:
        """Log what was done, tell it to who asked, and publish the status at once."""
        if response.success:
            response.message = text
            self.get_logger().info(text)
        self._publish_status()
        return response

    def _look(self) -> None:
        if self._topics is not None:
            self._topics.look()

    def _publish_status(self) -> None:
        recorder, topics = self._recorder, self._topics
        if recorder is None or topics is None:
            return
        report, names = recorder.report, topics.names
        rates_hz = recorder.watch.rates_hz(self._now_ns())
        watching = RecorderStatus.WATCHING if report.watching else RecorderStatus.IDLE
        message = RecorderStatus(
            state=RecorderStatus.RECORDING if report.recording else watching,
            path=report.path,
            instruction=report.instruction,
            duration_s=report.duration_s,
            messages=report.messages,
            bytes=report.bytes,
            lost=report.lost,
            disk_free=report.disk_free,
            episodes=report.episodes,
            topics=names,
            rates_hz=[rates_hz[name] for name in names],
            warnings=[*report.warnings, *topics.refused.values()],
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(message)


main = main_of(RecorderNode)

if __name__ == "__main__":
    main()
