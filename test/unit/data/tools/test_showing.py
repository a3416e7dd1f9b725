"""Episodes as plots and as a video with the actions drawn in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from vla_ros.cli.data import data
from vla_ros.core.errors import UserError
from vla_ros.data.episode import episode_folders
from vla_ros.data.frames import open_episode
from vla_ros.data.message_definitions import message_definition, typestore
from vla_ros.data.message_file import MessageFile, TopicSpec
from vla_ros.data.showing.filming import film_episode
from vla_ros.data.showing.plotting import plot_episode
from vla_ros.data.showing.projection import find_camera, find_hand
from vla_ros.data.showing.timeline import GATE_STATUS, in_force, read_timeline
from vla_ros.data.tools.episode_copy import Change, copy_episode

SEED = 12


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An episode whose cameras' intrinsics were recorded; do not write into it."""
    pytest.importorskip("rclpy", reason="recordings are made with ROS 2's messages")
    from vla_ros.testing.recordings import record_simulated

    recording = tmp_path_factory.mktemp("seen")
    return record_simulated(recording, [SEED], skill="lift", camera_info=True)[0]


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_points_appear_where_the_simulators_camera_sees_them(seen: Path, camera: str) -> None:
    """Of the calibration error that the simulator adds, 8 mm and 0.8 degrees, nothing is known."""
    from vla_ros.learning.augmentation.simulated_replay import SimulatedReplay, recorded_scene

    episode = open_episode(seen)
    model, hand = find_camera(episode, camera), find_hand(episode.contract)
    assert model is not None
    assert hand is not None
    with SimulatedReplay(episode, recorded_scene(episode)) as replay:
        replay.play()
        table = replay.table
        positions = table.joint_positions
        tip = np.array(table.data.site("tcp").xpos)
        np.testing.assert_allclose(hand.path(positions[None])[0], tip, atol=1e-3)
        points = np.array([table.data.body(item.name).xpos for item in table.scene.objects])
        in_camera = (
            np.linalg.inv(table.camera_pose(camera)) @ np.c_[points, np.ones(len(points))].T
        )
        info = table.camera_info(camera)
        truth = np.array(
            [info.fx * in_camera[0] / in_camera[2] + info.cx,
             info.fy * in_camera[1] / in_camera[2] + info.cy]
        ).T  # fmt: skip
    inside = (in_camera[2] > 0.05) & (truth >= 0).all(axis=1) & (truth < 128).all(axis=1)
    assert inside.any()
    found = model.project(points, positions)
    assert np.abs(found - truth)[inside].max() < 8  # [px] of 128


def test_what_is_behind_a_camera_is_nowhere(seen: Path) -> None:
    episode = open_episode(seen)
    model = find_camera(episode, "front")
    assert model is not None
    state = read_timeline(episode).states[0]
    pose = model.chain.forward(state[list(model.joints)])
    points = np.array([pose[:3, 3] - pose[:3, 2], pose[:3, 3] + pose[:3, 2]])
    behind, ahead = model.project(points, state)
    assert np.isnan(behind).all()
    np.testing.assert_allclose(ahead, model.intrinsics[:2, 2], atol=1e-6)


def test_the_video_shows_every_frame_and_the_path_where_the_hand_will_go(
    seen: Path, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    episode = open_episode(seen)
    timeline = read_timeline(episode)
    filmed = film_episode(episode, timeline, tmp_path / "film.mp4")
    assert filmed.drawn == ("front", "wrist")
    frames = list(episode.frames())
    with av.open(str(tmp_path / "film.mp4")) as container:
        pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    assert filmed.frames == len(pictures) == len(frames)
    at = 10
    model, hand = find_camera(episode, "front"), find_hand(episode.contract)
    chunk = timeline.chunk_at(frames[at].stamp_ns)
    assert model is not None
    assert hand is not None
    assert chunk is not None
    coming = hand.path(chunk.positions[chunk.stamps_ns > frames[at].stamp_ns])
    pixels = model.project(coming, timeline.state_at(frames[at].stamp_ns))
    middle = pixels[len(pixels) // 2] * 384 / 128
    x, y = round(middle[0]), round(middle[1]) + 56
    around = pictures[at][y - 4 : y + 5, x - 4 : x + 5].astype(int)
    blue = around[..., 2] - around[..., 0]
    assert blue.max() > 60  # the colour of the policy's path, on a table of grey and brown
    before = np.kron(frames[at].observation.images["front"], np.ones((3, 3, 1), int))
    assert (
        before[y - 60 : y - 51, x - 4 : x + 5, 2] - before[y - 60 : y - 51, x - 4 : x + 5, 0]
    ).max() < 60


def test_without_intrinsics_the_joints_still_show_what_comes(takes: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    episode = open_episode(episode_folders(takes)[0])
    filmed = film_episode(episode, read_timeline(episode), tmp_path / "film.mp4")
    assert (filmed.drawn, filmed.undrawn) == ((), ("front", "wrist"))
    assert filmed.frames == len(list(episode.frames()))


def test_the_timeline_tells_gate_actor_and_the_chunk_in_force(seen: Path, tmp_path: Path) -> None:
    folder = copy_episode(seen, tmp_path / "with_gate", 0, Change())
    start_ns = open_episode(folder).info.start_ns
    _add_gate(folder, [(start_ns, 1), (start_ns + 300_000_000, 1), (start_ns + 500_000_000, 2)])
    timeline = read_timeline(open_episode(folder))
    assert [state for _, state in timeline.gate] == ["executing", "emergency stop"]
    assert in_force(timeline.gate, start_ns + 499_000_000) == "executing"
    assert in_force(timeline.actors, start_ns + 1) == "policy"
    chunk = timeline.chunk_at(start_ns + 100_000_000)
    assert chunk is not None
    assert chunk.told_ns <= start_ns + 100_000_000 < chunk.stamps_ns[-1]
    assert timeline.chunk_at(start_ns - 1) is None
    assert timeline.chunk_at(timeline.end_ns + 10_000_000_000) is None


def _add_gate(folder: Path, states: list[tuple[int, int]]) -> None:
    """Add a file with messages of the gate's status."""
    store: Any = typestore()
    kind = "vla_ros_interfaces/msg/GateStatus"
    header = store.types["std_msgs/msg/Header"]
    stamp = store.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
    with MessageFile(folder / f"{folder.name}_1.mcap") as file:
        file.add_topic(TopicSpec(name=GATE_STATUS, type=kind, definition=message_definition(kind)))
        for at, state in states:
            message = store.types[kind](
                header=header(stamp=stamp, frame_id=""), state=state, reason="",
                chunk_age_s=0.0, chunk_remaining_s=0.0, progress=0.0, grounding=1.0,
                instruction="", actor="policy", ticks=0, limited=0, rejected_chunks=0,
                jitter_p99_ms=0.0, command=np.zeros(0),
            )  # fmt: skip
            file.add(GATE_STATUS, bytes(store.serialize_cdr(message, kind)), at, at)


def test_plots_draw_every_joint_and_what_the_gate_did(seen: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("matplotlib")
    folder = copy_episode(seen, tmp_path / "with_gate", 0, Change())
    start_ns = open_episode(folder).info.start_ns
    episode = open_episode(folder)
    plot_episode(episode.info, episode.contract, read_timeline(episode), tmp_path / "a.png")
    _add_gate(folder, [(start_ns, 2)])
    episode = open_episode(folder)
    plot_episode(episode.info, episode.contract, read_timeline(episode), tmp_path / "b.png")
    plain, stopped = (cv2.imread(str(tmp_path / f"{name}.png")) for name in "ab")
    assert stopped.shape[0] > plain.shape[0]  # a strip more
    red = (stopped == (0x3E, 0x36, 0xD9)).all(axis=2)
    assert red.any(axis=1).sum() > 10
    assert red[-1000:].sum() > 10_000


def test_the_command_writes_both_and_overwrites_neither(seen: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    words = ["show", str(seen), "--output", str(tmp_path)]
    done = CliRunner().invoke(data, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "episode_000000.mp4", "episode_000000.png",
    ]  # fmt: skip
    assert "drawn into front, wrist" in done.output
    with pytest.raises(UserError, match=r"episode_000000\.png: is there already"):
        CliRunner().invoke(data, words, catch_exceptions=False)
