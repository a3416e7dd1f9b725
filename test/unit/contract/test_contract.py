"""Contracts are read strictly: every error names file, key, what was expected, what came."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.contract import (
    RobotContract,
    differences,
    find_contract,
    load_contract,
    shipped_contracts,
)
from vla_ros.core.errors import ContractError

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
FRONT = "observations/observation.images.front"
ELBOW = "action/joints/elbow_flex"
GRIPPER = "action/joints/gripper"
FINGER = {
    "unit": "rad",
    "position": [-0.1, 1.7],
    "velocity": 1.0,
    "acceleration": 10.0,
    "jerk": 100.0,
    "home": 0.0,
}


@pytest.mark.parametrize(
    ("path", "value", "where", "what"),
    [
        ("version", 2, "version", "expected 1, got 2"),
        ("name", ..., "name", "missing; expected text"),
        ("name", "", "name", "expected text, got ''"),
        ("colour", "red", "colour", "unknown key; expected only"),
        (f"{FRONT}/topic", 3, "observation.images.front.topic", "expected text, got 3"),
        (f"{FRONT}/topic", "bad topic!", "front.topic", "/camera/image_raw, got 'bad topic!'"),
        (f"{FRONT}/topic", "/2d", "front.topic", "parts of letters, digits and _ that begin with"),
        (f"{FRONT}/topic", "~/image", "front.topic", "expected a topic's name"),
        ("action/command/topic", "/commands/", "action.command.topic", "expected a topic's name"),
        (
            "action/command/topic",
            "/joint_states",
            "action.command.topic",
            "expected a topic of its own, got '/joint_states', the topic of observation.state",
        ),
        (f"{FRONT}/width", 12.5, "front.width", "expected a whole number above 0, got 12.5"),
        (f"{FRONT}/width", True, "front.width", "expected a whole number above 0, got True"),
        (f"{FRONT}/rate_hz", 0, "front.rate_hz", "expected a number above 0, got 0"),
        (f"{FRONT}/rate_hz", float("nan"), "front.rate_hz", "expected a number above 0, got nan"),
        (f"{FRONT}/rate_hz", "1e1", "front.rate_hz", "YAML reads this as text"),
        (f"{FRONT}/max_age_s", 0.01, "front.max_age_s", "expected at least one period"),
        (f"{FRONT}/required", "yes", "front.required", "expected true or false, got 'yes'"),
        (f"{FRONT}/encoding", "32FC1", "front.encoding", "expected one of rgb8, bgr8"),
        (f"{FRONT}/encoding", "rgb", "front.encoding", "Did you mean 'rgb8'?"),
        (f"{FRONT}/type", "sensor_msgs/Image", "front.type", "mean 'sensor_msgs/msg/Image'?"),
        (f"{FRONT}/max_age", 1, "front.max_age", "Did you mean 'max_age_s'?"),
        (f"{FRONT}/max_age_s", ..., "front.max_age_s", "missing; expected a number above 0"),
        ("observations/observation.lidar", {}, "observation.lidar", "unknown feature; expected"),
        ("observations/observation.state", ..., "observation.state", "missing; the gate needs"),
        ("observations/observation.state/required", False, "state.required", "expected true"),
        ("observations", [], "observations", "expected a mapping, got []"),
        ("action/control_rate_hz", -1, "action.control_rate_hz", "a number above 0, got -1"),
        ("action/command/type", "std_msgs/msg/String", "action.command.type", "expected one of"),
        ("action/joints", {}, "action.joints", "expected one joint or more"),
        (f"{ELBOW}/unit", "deg", "elbow_flex.unit", "got 'deg'. vla_ros works in SI units"),
        (f"{ELBOW}/position", [1, -1], "elbow_flex.position", "lower below upper, got [1, -1]"),
        (f"{ELBOW}/position", [1], "elbow_flex.position", "expected [lower, upper], got [1]"),
        (f"{ELBOW}/position", [-1, 3], "elbow_flex.position", "within that of urdf/so101"),
        (f"{ELBOW}/unit", "m", "elbow_flex.unit", "expected rad, since the joint is revolute in"),
        (f"{ELBOW}/velocity", 500, "elbow_flex.velocity", "so101.urdf.xacro says, 5.45, got 500"),
        (f"{GRIPPER}/position", [-30, 30], "gripper.position", "[-0.174533, 1.74533], got [-30"),
        (f"{GRIPPER}/velocity", 5.5, "gripper.velocity", "says, 5.45, got 5.5"),
        ("action/joints/griper", FINGER, "action.joints.griper", "Did you mean 'gripper'?"),
        ("action/joints/gripper_2", FINGER, "joints.gripper_2", "wrist_roll, gripper move"),
        (
            "action/joints/tcp_joint",
            FINGER,
            "action.joints.tcp_joint.unit",
            "expected a joint that moves, but the joint is fixed in urdf/so101.urdf.xacro",
        ),
        (
            f"{ELBOW}/velocity",
            None,
            "elbow_flex.velocity",
            "expected a number above 0, got nothing",
        ),
        (f"{ELBOW}/jerk", float("inf"), "elbow_flex.jerk", "expected a number above 0, got inf"),
        (f"{ELBOW}/home", 1.69001, "elbow_flex.home", "expected a position from -1.69 to 1.69"),
        (ELBOW, ..., "action.joints", "expected joint 'elbow_flex', which moves tcp"),
        ("action/workspace/z", [0.3, 0.5], "action.workspace", "the home pose is outside: tcp z"),
        ("action/workspace/w", [0, 1], "action.workspace.w", "unknown key; expected only x, y, z"),
        ("robot/urdf", "nowhere.urdf", "robot.urdf", "expected a file, found none at"),
        ("robot/base_link", "floor", "robot.base_link", "so101.urdf.xacro, got 'floor'; they are"),
        ("robot/tip_frame", "toe", "robot.tip_frame", "no chain from link 'base_link' to link"),
    ],
)
def test_an_error_names_file_and_key_and_what_was_expected(
    load: Callable[..., RobotContract], path: str, value: object, where: str, what: str
) -> None:
    with pytest.raises(ContractError) as caught:
        load((path, value))
    text = str(caught.value)
    assert "my_arm.yaml" in text
    assert where in text
    assert what in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b\n", "line 2: the key 'name' is given twice"),
        ("- 1\n- 2\n", "expected a mapping, got [1, 2]"),
        ("", "expected a mapping, got nothing"),
        ("a: [1\n", "not valid YAML"),
        ("a: 1\nhome: 2024-99-99\n", "line 2: YAML reads '2024-99-99' as a timestamp, and it is"),
        ("version: 1\nname: x\n1: 2\nrobot: {}\n", "robot.urdf: missing"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(ContractError) as caught:
        load_contract(file)
    assert "broken.yaml" in str(caught.value)
    assert message in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "image.yaml"
    file.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ContractError, match=r"image\.yaml: (cannot be read|not valid YAML)"):
        load_contract(file)


def test_an_unknown_robot_lists_the_shipped_ones() -> None:
    with pytest.raises(ContractError, match=r"shipped are so101, .*Did you mean tabletop_sim\?"):
        load_contract("tabletop_sym")
    with pytest.raises(ContractError, match="there is no such contract file"):
        load_contract("somewhere/arm.yaml")


@pytest.mark.parametrize("name", ["tabletop_sim", "so101"])
def test_a_shipped_contract_loads_and_survives_a_bundle(name: str) -> None:
    contract = load_contract(name)
    assert name in shipped_contracts()
    embedded = json.loads(json.dumps(contract.to_dict()))
    again = RobotContract.from_dict(embedded)
    assert again == contract
    assert again.sha256 == contract.sha256
    assert differences(contract, again) == []
    assert contract.action.joints == JOINTS


def test_the_order_of_keys_and_comments_do_not_change_the_hash(
    tmp_path: Path, shipped_values: dict[str, Any]
) -> None:
    file = tmp_path / "same.yaml"
    file.write_text("# a comment\n" + yaml.safe_dump(shipped_values, sort_keys=False))
    assert load_contract(file).sha256 == load_contract("tabletop_sim").sha256


def test_a_urdf_beside_the_contract_is_found(
    load: Callable[..., RobotContract], tmp_path: Path
) -> None:
    source = load_contract("tabletop_sim")
    text = (find_contract("so101").parents[2] / source.robot.urdf).read_text()
    (tmp_path / "mine.urdf.xacro").write_text(text)
    contract = load(("robot/urdf", "mine.urdf.xacro"))
    assert contract.robot.kinematics_sha256 == source.robot.kinematics_sha256
    assert contract.sha256 == source.sha256
    assert contract.chain().names == JOINTS[:5]


@pytest.mark.parametrize(
    ("urdf", "message"),
    [
        ("<robot", "not XML"),
        ("<sdf/>", "expected a <robot>, got a <sdf>"),
        (
            """<robot><joint name="elbow" type="revolute"><limit lower="-pi"/></joint></robot>""",
            "limit of joint 'elbow': lower: expected a number, got '-pi'",
        ),
    ],
)
def test_a_broken_urdf_is_an_error_of_the_urdf_and_names_both_files(
    load: Callable[..., RobotContract], tmp_path: Path, urdf: str, message: str
) -> None:
    (tmp_path / "mine.urdf").write_text(urdf)
    with pytest.raises(ContractError, match=r"my_arm\.yaml: robot\.urdf: .*mine\.urdf") as caught:
        load(("robot/urdf", "mine.urdf"))
    assert message in str(caught.value)


def test_a_relative_topic_is_the_same_as_one_in_the_nodes_namespace(
    load: Callable[..., RobotContract],
) -> None:
    states = ("observations/observation.state/topic", "/vla/joints")
    with pytest.raises(ContractError, match=r"got 'joints', the topic of observation\.state"):
        load(states, ("action/command/topic", "joints"))
    assert load(states, ("action/command/topic", "joints/commands"))


def test_compressed_colours_and_compressed_depth_are_sensors_like_others(
    load: Callable[..., RobotContract],
) -> None:
    colours, depth = FRONT, "observations/observation.depth.front"
    compressed = "sensor_msgs/msg/CompressedImage"
    contract = load(
        (f"{colours}/type", compressed),
        (f"{colours}/encoding", "jpeg"),
        (f"{depth}/type", compressed),
        (f"{depth}/encoding", "16UC1"),
    )
    assert [spec.compressed for spec in contract.observations if spec.camera == "front"] == [
        True,
        True,
    ]
    assert not contract.observation("observation.images.wrist").compressed
    assert RobotContract.from_dict(contract.to_dict()) == contract


@pytest.mark.parametrize(
    ("feature", "encoding", "expected"),
    [
        (FRONT, "rgb8", "expected one of jpeg, png, got 'rgb8'"),
        ("observations/observation.depth.front", "png", "expected one of 32FC1, 16UC1, got 'png'"),
    ],
)
def test_what_a_compressed_image_holds_has_to_be_said(
    load: Callable[..., RobotContract], feature: str, encoding: str, expected: str
) -> None:
    with pytest.raises(ContractError, match=expected):
        load(
            (f"{feature}/type", "sensor_msgs/msg/CompressedImage"),
            (f"{feature}/encoding", encoding),
        )


@pytest.mark.parametrize("damage", ["action", "robot", "observations"])
def test_a_damaged_embedded_contract_is_refused(damage: str) -> None:
    content = load_contract("tabletop_sim").to_dict()
    del content[damage]
    with pytest.raises(ContractError, match=r"embedded contract.*export the bundle again"):
        RobotContract.from_dict(content)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([])
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_value_anywhere_in_the_file_raises_anything_but_a_contract_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = yaml.safe_load(find_contract("tabletop_sim").read_text())
    node: Any = content
    while isinstance(node, dict) and node:
        key = data.draw(st.sampled_from(sorted(node)))
        if not isinstance(node[key], dict) or data.draw(st.integers(0, 3)) == 0:
            node[key] = data.draw(LEAVES)
            break
        node = node[key]
    file = tmp_path_factory.mktemp("fuzz") / "arm.yaml"
    file.write_text(yaml.safe_dump(content))
    try:
        load_contract(file)
    except ContractError as error:
        assert "arm.yaml" in str(error)  # noqa: PT017 - any outcome but another error is right
