"""`vla_ros demo` and `vla_ros eval --through-ros`: the whole graph, from one command."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from vla_ros.contract import load_contract
from vla_ros.ros.command_audit import CommandAudit
from vla_ros.ros.domains import choose_domain
from vla_ros.ros.qos import command_qos
from vla_ros.testing.listener import Listener
from vla_ros.testing.node_process import RunningCommand
from vla_ros.testing.waiting import wait_for

COMMANDS = "/forward_position_controller/commands"


def start(*arguments: str) -> RunningCommand:
    command = [sys.executable, "-m", "vla_ros.cli.app", *arguments]
    variables = {k: v for k, v in os.environ.items() if k != "ROS_DOMAIN_ID"}
    return RunningCommand("vla_ros", command, {**variables, "COLUMNS": "200"})


def graph_is_gone(log: Path) -> bool:
    pids = [
        line.rpartition(" ")[2] for line in log.read_text().splitlines() if ": process" in line
    ]
    assert len(pids) >= 4
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_demo_does_its_sentence_and_films_it(tmp_path: Path) -> None:
    demo = start("demo", "lift the green ball", "--output", str(tmp_path))
    assert demo.wait(110.0) == 0, demo.output
    assert "SUCCEEDED" in demo.output
    assert "physics: done" in demo.output
    video = imageio.imread(tmp_path / "demo.mp4")
    assert len(video) > 10
    assert (np.abs(np.diff(video[:, :360, :480].astype(np.int16), axis=0)) > 40).any()
    assert (tmp_path / "demo.mp4").stat().st_size < 5_000_000
    assert imageio.imread(tmp_path / "demo.png").shape[2] == 3
    assert graph_is_gone(tmp_path / "demo.log")


def test_ctrl_c_ends_the_demo_and_the_graph(tmp_path: Path) -> None:
    demo = start("demo", "lift the green ball", "--output", str(tmp_path))
    demo.wait_for_line("ready after", 60.0)
    demo.signal(signal.SIGINT)
    assert demo.wait(30.0) == 130, demo.output
    assert "Traceback" not in demo.output
    assert graph_is_gone(tmp_path / "demo.log")


def test_a_killed_demo_leaves_no_graph_behind(tmp_path: Path) -> None:
    demo = start("demo", "lift the green ball", "--output", str(tmp_path))
    demo.wait_for_line("ready after", 60.0)
    demo.signal(signal.SIGKILL)
    demo.wait(10.0)
    wait_for(lambda: graph_is_gone(tmp_path / "demo.log"), "the graph to end", 20.0)


@pytest.mark.parametrize("sentence", ["make me a coffee", ""])
def test_the_demo_refuses_what_no_scene_fits(sentence: str, tmp_path: Path) -> None:
    demo = start("demo", sentence, "--output", str(tmp_path))
    assert demo.wait(30.0) == 2
    assert "no object is named" in demo.output
    assert "Traceback" not in demo.output


def test_an_evaluation_through_ros_is_compared_with_a_direct_one(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    evaluation = start(
        "eval", "--through-ros", "--episodes", "2", "--workers", "1", "--json", str(report)
    )
    assert evaluation.wait(110.0) == 0, evaluation.output
    found = json.loads(report.read_text())
    assert found["episodes"] == 2
    assert found["commands"] > 100
    assert found["violations"] == 0
    expected = 100.0 * abs(found["success"] - found["direct_success"])
    assert found["points_from_direct"] == pytest.approx(expected)


def test_the_audit_finds_what_breaks_a_limit_and_forgives_one_announced_jump(
    listener: Listener,
) -> None:
    node: Node = listener.node
    contract = load_contract("tabletop_sim")
    audit = CommandAudit(node, contract)
    publisher = node.create_publisher(Float64MultiArray, COMMANDS, command_qos())
    wait_for(publisher.get_subscription_count, "the audit to be found")

    def send(offset: float) -> None:
        count = audit.commands
        publisher.publish(Float64MultiArray(data=[0.0, -0.5 + offset, 0.5, 1.0, 0.0, 0.5]))
        wait_for(lambda: audit.commands > count, "the command")

    for offset in (0.0, 0.0, 0.00001):
        send(offset)
    assert audit.violations == []
    audit.expect_new_beginning(within_s=30.0)
    send(0.3)
    send(0.3)
    assert audit.violations == []
    send(0.6)
    assert {v.quantity for v in audit.violations} == {"velocity", "acceleration", "jerk"}
    assert {v.joint for v in audit.violations} == {contract.action.joints[1]}
    found = len(audit.violations)
    send(float("nan"))
    assert [v.quantity for v in audit.violations[found:]] == ["finite"]


def test_a_chosen_domain_is_kept_and_another_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    assert choose_domain() == 42
    monkeypatch.delenv("ROS_DOMAIN_ID")
    assert 1 <= choose_domain() <= 100
