"""An operator's device as a process of its own, so that a busy test does not make it stutter.

python -m vla_ros.testing.operator_process gamepad
python -m vla_ros.testing.operator_process network ws://127.0.0.1:8765/?token=...

It reads lines of JSON from its standard input: `{"buttons": [4], "axes": {"1": 0.5}}` for a
gamepad, `{"engaged": true, "axes": {"y": 1.0}}` for the network, from then on repeated 50 times a
second, and `null` to go silent; to that it answers with the ROS time of its last word [ns].
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

#: Time between two words [s], and the priority that is asked for.
PERIOD_S, PRIORITY = 0.02, 15


class OperatorProcess:
    """Starts the process and tells it what to say."""

    def __init__(self, *arguments: str) -> None:
        """Start it: `gamepad`, or `network` and the address of its socket."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, **word: Any) -> None:
        """Repeat this from now on."""
        self._write(word)

    def fall_silent(self) -> int:
        """Say nothing any more; return the ROS time of the last word [ns]."""
        self._write(None)
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _write(self, word: dict[str, Any] | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(word) + "\n")
        self._process.stdin.flush()


class _Repeater:
    """Says the newest word again and again until it is told to be silent."""

    def __init__(self, speak: Callable[[dict[str, Any]], int]) -> None:
        self._speak = speak
        self._word: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._last_ns = 0

    def run(self) -> None:
        """Repeat for ever."""
        due = time.monotonic()
        while True:
            with self._lock:
                if self._word is not None:
                    self._last_ns = self._speak(self._word)
            due = max(due + PERIOD_S, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))

    def listen(self) -> None:
        """Take words from the standard input."""
        for line in sys.stdin:
            word = json.loads(line)
            with self._lock:
                self._word = word
                if word is None:
                    print(self._last_ns, flush=True)


def main() -> None:
    """Speak as a device of the kind that the command line names."""
    import rclpy

    from vla_ros.ros.periodic import prefer_this_process

    rclpy.init()
    node = rclpy.create_node("operator_process")
    speak = _gamepad(node) if sys.argv[1] == "gamepad" else _network(node, sys.argv[2])
    repeater = _Repeater(speak)
    threading.Thread(target=repeater.listen, daemon=True).start()
    prefer_this_process(PRIORITY)
    repeater.run()


def _gamepad(node: Any) -> Callable[[dict[str, Any]], int]:
    from sensor_msgs.msg import Joy

    from vla_ros.ros.qos import event_qos
    from vla_ros.ros.stamps import to_ns

    publisher = node.create_publisher(Joy, "/joy", event_qos())

    def speak(word: dict[str, Any]) -> int:
        message = Joy(axes=[0.0] * 8, buttons=[0] * 11)
        for index in word.get("buttons", []):
            message.buttons[index] = 1
        for index, value in word.get("axes", {}).items():
            message.axes[int(index)] = float(value)
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        return to_ns(message.header.stamp)

    return speak


def _network(node: Any, address: str) -> Callable[[dict[str, Any]], int]:
    from websockets.sync.client import connect

    socket = connect(address, compression=None).__enter__()
    ticks = [0]

    def listen() -> None:
        for text in socket:
            ticks[0] = json.loads(text).get("tick", ticks[0])

    threading.Thread(target=listen, daemon=True).start()

    def speak(word: dict[str, Any]) -> int:
        now_ns = int(node.get_clock().now().nanoseconds)
        socket.send(json.dumps({"type": "move", "tick": ticks[0], **word}))
        return now_ns

    return speak


if __name__ == "__main__":
    main()
