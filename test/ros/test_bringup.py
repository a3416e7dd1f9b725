from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from vla_ros.bringup.background import BackgroundGraph
from vla_ros.bringup.graph import ENGINES, NodeDescription, Value, describe
from vla_ros.bringup.options import Options
from vla_ros.bringup.restarts import FailureCount, RestartPolicy
from vla_ros.bringup.supervisor import Supervisor, child_environment
from vla_ros.cli.collect import ADDRESS
from vla_ros.cli.up import up
from vla_ros.contract import find_contract
from vla_ros.core.errors import UserError
from vla_ros.engine.choice import OWN
from vla_ros.ros.transport import PROFILE_VARIABLE, large_frame_advice, use_shipped_profile
from vla_ros.testing.node_process import GraphProcess, RunningCommand
from vla_ros.testing.waiting import wait_for

SWAYING = Options(backend="swaying")


def test_the_simulation_has_one_node_more_than_the_robot() -> None:
    names = [node.name for node in describe("sim", Options())]
    assert names == ["sim", "gate", "policy", "planner"]
    assert [node.name for node in describe("robot", Options())] == names[1:]


def test_every_engine_runs_bundles_and_gets_what_was_chosen_about_it() -> None:
    assert set(ENGINES) == set(OWN)
    options = Options(backend="openvino:bf16", fallback="onnxruntime,torch", threads=2, cpus="0,1")
    (policy,) = (node for node in describe("sim", options) if node.name == "policy")
    chosen = {"backend": "openvino:bf16", "fallback": "onnxruntime,torch", "cpus": "0,1"}
    assert chosen.items() <= policy.parameters.items()
    assert str(policy.parameters["bundle"]).endswith("models/tabletop-small")


def test_the_trial_backend_is_refused_on_a_robot() -> None:
    assert describe("sim", SWAYING)
    with pytest.raises(UserError, match="'swaying' sways the arm and is for simulation only"):
        describe("robot", SWAYING)


def test_every_node_follows_the_same_contract() -> None:
    for kind, contract in (("sim", "tabletop_sim"), ("robot", "so101")):
        assert {node.parameters["contract"] for node in describe(kind, Options())} == {contract}
    file = str(find_contract("so101"))
    nodes = describe("robot", Options(robot=file))
    assert {node.parameters["contract"] for node in nodes} == {file}


def test_the_simulator_never_follows_its_own_clock() -> None:
    options = Options(backend="swaying", use_sim_time=True)
    times = {node.name: node.parameters["use_sim_time"] for node in describe("sim", options)}
    assert times == {"sim": False, "gate": True, "policy": True, "planner": True}


def test_parameters_keep_their_types_on_the_command_line() -> None:
    values: dict[str, Value] = {
        "a": "1",
        "b": 2,
        "c": 0.5,
        "d": True,
        "e": "",
        "f": "it's",
    }
    line = NodeDescription(name="gate", parameters=values).command()
    given = [word for flag, word in pairwise(line) if flag == "-p"]
    pairs = (word.split(":=", 1) for word in given)
    assert {key: yaml.safe_load(text) for key, text in pairs} == values


def test_the_safety_options_reach_the_nodes_that_they_are_for() -> None:
    for kind in ("sim", "robot"):
        usual = {node.name: node.parameters for node in describe(kind, Options())}
        assert usual["gate"]["start_stopped"] is False
        assert usual["planner"]["second_goal"] == "reject"
        options = Options(start_stopped=True, second_goal="preempt")
        chosen = {node.name: node.parameters for node in describe(kind, options)}
        assert chosen["gate"]["start_stopped"] is True
        assert chosen["planner"]["second_goal"] == "preempt"


def test_a_home_directory_is_understood_in_the_paths_of_contract_and_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(find_contract("so101"), tmp_path / "mine.yaml")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").touch()
    options = Options(robot="~/mine.yaml", policy="~/bundle")
    parameters = {node.name: node.parameters for node in describe("robot", options)}
    assert parameters["gate"]["contract"] == str(tmp_path / "mine.yaml")
    assert parameters["policy"]["bundle"] == str(tmp_path / "bundle")


def test_a_relative_contract_is_the_same_file_for_every_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(find_contract("so101"), tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    nodes = describe("robot", Options(robot="mine.yaml"))
    assert {node.parameters["contract"] for node in nodes} == {str(tmp_path / "mine.yaml")}


def test_a_folder_without_a_bundle_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no policy bundle"):
        describe("sim", Options(policy=str(tmp_path)))


def test_a_folder_with_a_signature_is_a_policy_and_a_server_is_not_looked_for_on_disk(
    tmp_path: Path,
) -> None:
    (tmp_path / "signature.yaml").touch()
    for policy, backend in ((str(tmp_path), "openvino:bf16"), ("ws://10.0.0.5:8000", "openpi")):
        nodes = describe("robot", Options(policy=policy, backend=backend))
        (found,) = (node.parameters for node in nodes if node.name == "policy")
        assert (found["bundle"], found["backend"]) == (policy, backend)


def test_collecting_needs_a_policy_only_where_one_is_named(tmp_path: Path) -> None:
    def names(**options: str) -> list[str]:
        return [node.name for node in describe("collect", Options(**options))]  # type: ignore[arg-type]

    assert names() == ["sim", "gate", "teleop", "recorder"]
    assert names(robot="so101", teleop="leader") == ["gate", "teleop", "recorder"]
    assert names(robot="so101", teleop="none") == ["gate", "recorder"]
    interventions = ["sim", "gate", "policy", "planner", "teleop", "recorder"]
    assert names(backend="swaying") == interventions
    (tmp_path / "bundle.json").touch()
    assert names(policy=str(tmp_path)) == interventions


def test_a_copy_of_the_simulators_contract_is_collected_with_the_simulator(tmp_path: Path) -> None:
    shutil.copy(find_contract("tabletop_sim"), tmp_path / "mine.yaml")
    nodes = describe("collect", Options(robot=str(tmp_path / "mine.yaml")))
    assert nodes[0].name == "sim"


def test_the_trial_backend_is_refused_where_a_robot_is_recorded() -> None:
    with pytest.raises(UserError, match="for simulation only"):
        describe("collect", Options(robot="so101", backend="swaying"))


def test_other_graphs_are_recorded_and_teleoperated_where_the_user_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = Options(teleop="gamepad", recordings="mine", operator="Ada")
    parameters = {node.name: node.parameters for node in describe("robot", options)}
    assert parameters["teleop"]["device"] == "gamepad"
    assert parameters["recorder"]["folder"] == str(tmp_path / "mine")
    assert parameters["recorder"]["operator_name"] == "Ada"
    assert "planner" in parameters


def test_options_travel_to_another_process_as_arguments() -> None:
    assert Options().arguments() == []
    chosen = Options(recordings="my data", adaptive=True, seed=3, sensor_reliability="reliable")
    assert chosen.arguments() == [
        "--recordings", "my data", "--seed", "3", "--sensor-reliability", "reliable", "--adaptive",
    ]  # fmt: skip
    assert {item.name for item in fields(Options)} <= set(inspect.signature(up).parameters)


def test_a_device_of_ones_own_is_the_same_file_for_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    nodes = describe("collect", Options(teleop="mine.yaml", operator="Ada"))
    (teleop,) = (node.parameters for node in nodes if node.name == "teleop")
    assert (teleop["device"], teleop["operator"]) == (str(tmp_path / "mine.yaml"), "Ada")


def test_a_device_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UserError, match="no device 'gamepat'; shipped are gamepad, keyboard"):
        describe("collect", Options(teleop="gamepat"))


def test_an_unknown_graph_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="expected one of sim, robot, collect, got 'moon'"):
        describe("moon", SWAYING)


def test_both_variables_of_the_wheels_are_passed_on_or_neither() -> None:
    node = describe("sim", SWAYING)[0]
    guard = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"
    whole = {"LD_LIBRARY_PATH": "/somewhere", guard: "1", "ROS_DOMAIN_ID": "7"}
    environment = child_environment(whole, node)
    assert {k: environment[k] for k in whole} == whole
    assert guard not in child_environment({}, node)


def test_discovery_stays_on_this_machine_unless_the_user_says_otherwise() -> None:
    node, name = describe("sim", SWAYING)[0], "ROS_AUTOMATIC_DISCOVERY_RANGE"
    assert child_environment({}, node)[name] == "LOCALHOST"
    assert child_environment({name: "SUBNET"}, node)[name] == "SUBNET"


def test_the_shipped_profile_is_used_unless_the_user_has_one() -> None:
    environment: dict[str, str] = {}
    assert use_shipped_profile(environment)
    assert environment[PROFILE_VARIABLE].endswith("config/fastdds.xml")
    chosen = {PROFILE_VARIABLE: "/my/profile.xml"}
    assert not use_shipped_profile(chosen)
    assert chosen == {PROFILE_VARIABLE: "/my/profile.xml"}
    assert not use_shipped_profile({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"})


def test_advice_about_large_frames_names_cause_and_cure() -> None:
    advice = large_frame_advice(640 * 480 * 3)
    assert "frames of 0.92 MB overflow the 0.5 MB shared-memory segment" in advice
    assert f"{PROFILE_VARIABLE}=" in advice
    assert large_frame_advice(128 * 128 * 3) == ""


def test_failures_count_in_a_row_and_a_node_that_ran_long_enough_starts_anew() -> None:
    now_s = 0.0
    count = FailureCount(RestartPolicy(forgive_s=20.0), clock=lambda: now_s)
    counted = []
    for lived_s in (1.0, 19.0, 20.0, 20.1, 1.0):
        count.begin()
        now_s += lived_s
        counted.append(count.fail())
        now_s += 100.0  # how long it is down does not count
    assert counted == [1, 2, 3, 1, 2]


class Crasher(NodeDescription):
    """A node that ends by itself."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", f"import sys; print('up'); sys.exit({self.name})"]


def test_a_node_that_keeps_crashing_is_given_up_with_increasing_delays() -> None:
    said: list[str] = []
    restart = RestartPolicy(delay_s=0.01, limit=3)
    node = Crasher(name="3", parameters={}, restart=restart)
    assert Supervisor([node], lambda who, text: said.append(text)).run() == 3
    delays = [text.rpartition("starts again in ")[2] for text in said if "starts again" in text]
    assert delays == ["0.01 s", "0.02 s", "0.04 s"]
    assert "3 failed 4 times in a row: giving up" in said


def test_a_node_that_needs_the_user_is_not_started_again() -> None:
    said: list[str] = []
    node = Crasher(name="78", parameters={})
    assert Supervisor([node], lambda who, text: said.append(text)).run() == 78
    assert said.count("up") == 1


def children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    return "State:\tZ" not in status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_every_node_and_exits_0_even_if_it_comes_twice(
    number: signal.Signals,
) -> None:
    graph = GraphProcess("sim", "--backend", "swaying").wait_ready()
    nodes = children(graph.pid)
    assert len(nodes) == 4
    graph.signal(number)
    graph.signal(number)
    assert graph.wait() == 0, graph.output
    assert not any(map(alive, nodes))
    assert "Traceback" not in graph.output
    assert "killing it" not in graph.output


def test_when_the_supervisor_is_killed_its_nodes_end_too() -> None:
    graph = GraphProcess("robot", "--allow-differences").wait_ready()
    nodes = children(graph.pid)
    assert len(nodes) == 3
    graph.signal(signal.SIGKILL)
    graph.wait()
    wait_for(lambda: not any(map(alive, nodes)), "the nodes to end")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--sensor-reliability", "foo"),
            "error: sensor_reliability: expected best_effort or reliable, got 'foo'",
        ),
        (("--second-goal", "both"), "error: second_goal: expected reject or preempt, got 'both'"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_before_anything_starts(
    arguments: tuple[str, ...], message: str
) -> None:
    graph = GraphProcess("sim", *arguments)
    assert graph.wait(30.0) == 2
    assert graph.lines == [message]


def test_a_scene_that_does_not_exist_ends_the_graph_with_one_clear_message() -> None:
    graph = GraphProcess("sim", "--backend", "swaying", "--skill", "juggle")
    assert graph.wait(60.0) == 78
    assert "/vla/sim: skill 'juggle' does not exist; choose one of reach, push" in graph.output
    assert "starts again" not in graph.output
    assert "Traceback" not in graph.output


def test_an_unknown_robot_ends_the_graph_with_one_clear_message() -> None:
    graph = GraphProcess("robot", "--robot", "no_such_robot")
    assert graph.wait(30.0) == 2
    assert "error: there is no robot 'no_such_robot'; shipped are so101" in graph.output
    assert len(graph.lines) == 1


def test_a_corrupted_bundle_ends_the_graph_and_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{", encoding="utf-8")
    graph = GraphProcess("sim", "--policy", str(tmp_path))
    assert graph.wait(60.0) == 78
    assert str(tmp_path / "bundle.json") in graph.output
    assert "policy ended with status 78: the graph ends" in graph.output
    assert "starts again" not in graph.output
    assert "Traceback" not in graph.output


def test_up_imports_neither_torch_nor_mujoco_nor_rclpy() -> None:
    code = (
        "import sys, json; from vla_ros.cli.app import build_app; build_app('up');"
        "print(json.dumps([m for m in ('torch', 'mujoco', 'rclpy') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_run_without_a_graph_says_how_to_start_one() -> None:
    environment = {**os.environ, "ROS_DOMAIN_ID": "101", "COLUMNS": "300"}
    command = [sys.executable, "-m", "vla_ros.cli.app", "run", "push the red cube", "--wait", "1"]
    run = RunningCommand("vla_ros run", command, environment)
    assert run.wait(30.0) == 2
    assert "no planner serves the action /vla/run_instruction" in run.output
    assert "vla_ros up sim" in run.output


def test_the_list_of_commands_needs_none_of_them() -> None:
    command = [sys.executable, "-m", "vla_ros.cli.app", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("up", "run", "eval", "train", "collect", "demonstrate"):
        assert name in done.stdout


def test_a_graph_in_the_background_tells_what_happened_to_its_nodes_once(tmp_path: Path) -> None:
    log = tmp_path / "graph.log"
    with BackgroundGraph(["sim", "--robot", "nowhere"], log=log, domain=99) as graph:
        with pytest.raises(UserError, match=r"(?s)ended with status 2; its log, .*nowhere"):
            graph.wait_ready(30.0)
        assert graph.status == 2
        assert log.stat().st_mode & 0o077 == 0  # it may hold a token
        graph.news()
        with log.open("a") as file:
            file.write("12:00:01    graph gate: process 7\n12:00:02     gate graph ready?\n")
            file.write("12:00:03   teleop operators connect to http://here:1/?token=a\n")
            file.write("12:00:04    graph teleop was ended by SIG")
            file.flush()
            assert graph.news() == ["gate: process 7"]
            file.write("KILL\n12:00:05   teleop operators connect to http://here:1/?token=b\n")
            file.flush()
        assert graph.news() == ["teleop was ended by SIGKILL"]
        assert graph.news() == []
        assert graph.find(ADDRESS) == "http://here:1/?token=b"
        assert graph.find(re.compile("nothing (.*)")) == ""
