from __future__ import annotations

import pytest

from vla_ros.testing.kill_recovery import kill_during_motion
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import GraphProcess


@pytest.mark.parametrize("name", ["policy", "planner", "sim"])
def test_a_killed_node_leaves_the_arm_held_and_comes_back_for_the_next_goal(
    name: str, graph: GraphProcess, listener: Listener
) -> None:
    report = kill_during_motion(
        graph, listener.node, name, "push the red cube forever", lambda: "push the red cube"
    )
    print(report)
    assert report.commands > 50
    assert report.hold_after_chunk_end_ms <= 100.0
    assert report.came_back
    assert report.back_after_s < 10.0
    assert report.next_goal_succeeded
