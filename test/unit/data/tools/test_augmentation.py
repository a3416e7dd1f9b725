"""Demonstrations in other words and other looks, and told what they did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from vla_ros.core.errors import UserError
from vla_ros.data.episode import Outcome, episode_folders, read_episode, write_episode
from vla_ros.data.frames import open_episode
from vla_ros.data.tools.derivation import Derived, derive_recording
from vla_ros.data.tools.editing import Renaming, rename
from vla_ros.data.tools.episode_copy import Change, copy_episode
from vla_ros.learning.augmentation.hindsight import Hindsight
from vla_ros.learning.augmentation.meaning import meaning_of, read_meaning, request_of
from vla_ros.learning.augmentation.other_looks import Look
from vla_ros.learning.augmentation.paraphrase import (
    ModelParaphraser,
    TemplateParaphraser,
    paraphrases,
)
from vla_ros.learning.augmentation.relabelling import Relabelling
from vla_ros.learning.augmentation.replaying import Replaying
from vla_ros.learning.augmentation.simulated_replay import SimulatedReplay, recorded_scene
from vla_ros.planner.language_backend import BackendFailed, ChatEndpoint
from vla_ros.sim.instructions import PhrasingBook
from vla_ros.sim.scene_record import redraw_scene, scene_values
from vla_ros.sim.scenes import SKILLS, sample_scene

TEMPLATES = TemplateParaphraser(book=PhrasingBook.for_split("train"))
COMMANDS = "/forward_position_controller/commands"
KEY = "key-that-nobody-may-see"


class Says:
    """A language backend that always says the same."""

    def __init__(self, *lines: str) -> None:
        self._answer = "\n".join(lines)

    def complete(self, prompt: str, *, seed: int) -> str:
        del prompt, seed
        return self._answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server that speaks as much of OpenAI's API as is asked of it."""
    asked: list[tuple[str | None, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            asked.append((self.headers.get("Authorization"), json.loads(self.rfile.read(length))))
            if self.path.startswith("/elsewhere"):
                self.send_response(307)
                self.send_header("Location", "/v1/chat/completions")
                self.end_headers()
                return
            if self.path != "/v1/chat/completions":
                self.send_error(404)
                return
            lines = "1. raise the blue cylinder\n- lift the red cube\n2) hoist the blue tube"
            body = json.dumps({"choices": [{"message": {"content": lines}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=httpd.serve_forever, daemon=True).start()
    httpd.asked = asked  # type: ignore[attr-defined]
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def _endpoint(server: Any, path: str = "/v1") -> ChatEndpoint:
    return ChatEndpoint(base_url=f"http://127.0.0.1:{server.server_port}{path}", model="m")


def _derive(derive: Any, recording: Path, output: Path) -> list[Any]:
    sources = episode_folders(recording)
    return list(derive_recording(derive, sources, output, settings={}, workers=1))


@pytest.mark.parametrize(
    "wrong",
    [
        "lift the red cylinder",
        "stack the blue cube on the red cube",
        "don't stack the red cube on the blue cube",
        "push the red cube left",
        "put the red cube into the bowl",
        "stack the red cube on the blue cube, then lift the green ball",
        "sing a song",
        "what colour is the cube?",
    ],
)
def test_a_proposal_that_means_something_else_is_dropped(wrong: str) -> None:
    text = "stack the red cube on the blue cube"
    good = "please set the red cube on top of the blue cube"
    found = paraphrases(
        text, read_meaning(text), ModelParaphraser(backend=Says(wrong, good)), 2, 0
    )
    assert found.texts == (good,)
    assert [refused for refused, _ in found.refused] == [wrong]


def test_what_differs_in_punctuation_only_is_no_paraphrase() -> None:
    text = "lift the red cube"
    model = ModelParaphraser(
        backend=Says("Lift the red cube!", "raise the red cube", "RAISE the red cube")
    )
    assert paraphrases(text, read_meaning(text), model, 3, 0).texts == ("raise the red cube",)


@pytest.mark.parametrize("skill", SKILLS)
def test_templates_find_other_words_for_every_skill(skill: str) -> None:
    for seed in range(5):
        scene = sample_scene(seed=seed, skill=skill)
        meaning = (request_of(scene, scene.goals[0]),)
        found = paraphrases(scene.text, meaning, TEMPLATES, 4, seed)
        assert len(found.texts) == 4, found
        assert all(read_meaning(text) == meaning for text in found.texts)
        assert found == paraphrases(scene.text, meaning, TEMPLATES, 4, seed)


def test_templates_say_what_they_lack_for_a_thing_without_a_colour() -> None:
    with pytest.raises(UserError, match="names no colour or no shape"):
        paraphrases("lift the cube", read_meaning("lift the cube"), TEMPLATES, 1, 0)


def test_relabelled_episodes_differ_in_words_alone(takes: Path, tmp_path: Path) -> None:
    results = _derive(Relabelling(paraphraser=TEMPLATES, variants=2), takes, tmp_path / "told")
    assert [item.error for item in results] == [""] * 4
    folders = episode_folders(tmp_path / "told")
    assert len(folders) == 8
    source = open_episode(episode_folders(takes)[1])
    for folder in folders[2:4]:
        told = open_episode(folder)
        assert told.info.instruction != source.info.instruction
        assert told.info.extra["told_originally"] == source.info.instruction
        assert meaning_of(told.info) == meaning_of(source.info)
        pairs = list(zip(told.frames(), source.frames(), strict=True))
        assert pairs
        for mine, theirs in pairs:
            assert mine.instruction == told.info.instruction
            np.testing.assert_array_equal(
                mine.observation.images["front"], theirs.observation.images["front"]
            )


def test_an_endpoint_is_asked_with_the_key_which_stays_in_the_environment(
    server: Any, tmp_path: Path
) -> None:
    text = "lift the blue cylinder"
    endpoint = _endpoint(server)
    found = paraphrases(text, read_meaning(text), ModelParaphraser(backend=endpoint), 2, 0)
    assert found.texts == ("raise the blue cylinder", "hoist the blue tube")
    assert [refused for refused, _ in found.refused] == ["lift the red cube"]
    key, body = server.asked[0]
    assert key == f"Bearer {KEY}"
    assert text in body["messages"][0]["content"]
    assert KEY not in json.dumps(body)
    assert KEY not in repr(endpoint)


@pytest.mark.parametrize(
    ("path", "told"), [("/v2", "answered 404"), ("/elsewhere", "answered 307")]
)
def test_a_server_that_refuses_or_points_elsewhere_is_named_and_not_followed(
    server: Any, path: str, told: str
) -> None:
    with pytest.raises(BackendFailed, match=told) as caught:
        _endpoint(server, path).complete("hello", seed=0)
    assert KEY not in str(caught.value)
    assert len(server.asked) == 1


def test_a_key_in_the_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(UserError, match="put the key into OPENAI_API_KEY") as caught:
        ChatEndpoint(base_url=f"https://me:{KEY}@example.org/v1", model="m")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("asked", [None, "push"])
def test_a_scene_is_drawn_again_from_what_a_recording_keeps_of_it(asked: str | None) -> None:
    scene = sample_scene(seed=77, skill=asked)
    again = redraw_scene(json.loads(json.dumps(scene_values(scene))))
    assert again.objects == scene.objects
    np.testing.assert_array_equal(again.initial_positions, scene.initial_positions)
    with pytest.raises(UserError, match="no longer drawn as it was recorded"):
        redraw_scene(scene_values(scene) | {"instruction": "lift the moon"})


def test_a_replay_repeats_the_motion_exactly_before_other_looks(
    takes: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one"
    shutil.copytree(episode_folders(takes)[0], one / "episode_000000")
    replaying = Replaying(looks=(Look.LIGHT, Look.TEXTURE), variants=2, seed=5)
    assert _derive(replaying, one, tmp_path / "looks")[0].error == ""
    source = list(open_episode(one / "episode_000000").frames())
    first, second = (list(open_episode(f).frames()) for f in episode_folders(tmp_path / "looks"))
    assert len(first) == len(second) == len(source)
    for mine, theirs in zip(first, source, strict=True):
        np.testing.assert_array_equal(mine.observation.state, theirs.observation.state)
        np.testing.assert_array_equal(mine.action, theirs.action)
        near = np.abs(
            mine.observation.depths["front"] - theirs.observation.depths["front"]
        )  # the same geometry, but for the noise of the camera
        assert np.median(near) < 0.004
    assert _difference(first[-1], source[-1]) > 10
    assert _difference(first[-1], second[-1]) > 10


def _difference(one: Any, other: Any) -> float:
    images = [item.observation.images["front"].astype(float) for item in (one, other)]
    return float(np.abs(images[0] - images[1]).mean())


def test_with_its_own_looks_a_replay_shows_what_was_recorded(takes: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    shutil.copytree(episode_folders(takes)[0], one / "episode_000000")
    assert _derive(Replaying(looks=()), one, tmp_path / "same")[0].error == ""
    pairs = zip(
        open_episode(tmp_path / "same" / "episode_000000").frames(),
        open_episode(one / "episode_000000").frames(),
        strict=True,
    )
    assert max(_difference(mine, theirs) for mine, theirs in pairs) < 8  # noise of 4 each
    episode = open_episode(one / "episode_000000")
    with SimulatedReplay(episode, recorded_scene(episode)) as replay:
        replay.play()
        last = [message for _, _, message in episode.messages(["/joint_states"])][-1]
        np.testing.assert_array_equal(replay.table.joint_positions, last.position)


def test_an_arm_that_is_elsewhere_than_it_was_recorded_ends_the_replay(
    takes: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one"
    delete_commands = Change(
        message=lambda item: None if item.topic == COMMANDS and item.sequence > 40 else item
    )
    copy_episode(episode_folders(takes)[0], one, 0, delete_commands)
    (result,) = _derive(Replaying(looks=()), one, tmp_path / "out")
    assert "rad from where it was recorded after" in result.error


def test_an_episode_that_does_not_follow_its_commands_is_refused_and_the_others_are_made(
    takes: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(takes, copy)
    spoilt = episode_folders(copy)[1]
    info = read_episode(spoilt)
    other = sample_scene(seed=9)
    write_episode(spoilt, replace(info, extra={"scene": scene_values(other)}))
    hardware = episode_folders(copy)[2]
    write_episode(hardware, replace(read_episode(hardware), extra={}))
    results = {
        item.source[-1]: item for item in _derive(Replaying(looks=()), copy, tmp_path / "out")
    }
    assert "rad from where it was recorded" in results["1"].error  # its gripper holds nothing
    assert "was not recorded in the simulator" in results["2"].error
    assert [read_episode(f).number for f in episode_folders(tmp_path / "out")] == [0, 3]


def test_a_failure_that_did_something_else_is_told_what_it_did(
    takes: Path, tmp_path: Path
) -> None:
    """The arm lifts what it was told to push: that is a good demonstration of lifting it."""
    source = episode_folders(takes)[0]
    info = read_episode(source)
    (request,) = meaning_of(info)
    colour, shape = request.named
    wrong = f"push the {colour} {shape} to the left"
    rename(takes, tmp_path / "wrong", Renaming(tasks={info.instruction: wrong}))
    folder = episode_folders(tmp_path / "wrong")[0]
    write_episode(folder, replace(read_episode(folder), outcome=Outcome.FAILURE))
    derive = Hindsight(book=PhrasingBook.for_split("train"))
    results = _derive(derive, tmp_path / "wrong", tmp_path / "did")
    assert [len(item.value.episodes) for item in results] == [1, 0, 0, 0]
    did = open_episode(tmp_path / "did" / "episode_000000")
    assert meaning_of(replace(did.info, extra={})) == (request,)
    assert did.info.outcome is Outcome.SUCCESS
    assert did.info.extra["told_originally"] == wrong
    assert did.info.end_ns <= read_episode(folder).end_ns
    frames = list(did.frames())
    assert {frame.instruction for frame in frames} == {did.info.instruction}


def test_what_a_robot_did_is_taken_from_the_operators_label_alone(
    takes: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(takes, copy)
    labels = ("did: lift the red cube", "dropped it", "did: hum a tune", "")
    for folder, label in zip(episode_folders(copy), labels, strict=True):
        info = read_episode(folder)
        write_episode(folder, replace(info, outcome=Outcome.FAILURE, label=label, extra={}))
    derive = Hindsight(book=PhrasingBook.for_split("train"))
    results = _derive(derive, copy, tmp_path / "did")
    assert results[0].value.episodes == ("episode_000000",)
    assert "label the episode 'did: ...'" in results[1].error
    assert "nothing in it is known here" in results[2].error
    assert read_episode(tmp_path / "did" / "episode_000000").instruction == "lift the red cube"


def _stop_at(folder: Path, place: Path, *, calls: Path, stop: str) -> Derived:
    with calls.open("a") as file:
        file.write(f"{folder.name}\n")
    if folder.name == stop:
        raise KeyboardInterrupt
    (place / folder.name).mkdir()
    return Derived(episodes=(folder.name,))


def test_a_derivation_that_was_stopped_goes_on_where_it_was(takes: Path, tmp_path: Path) -> None:
    calls, output = tmp_path / "calls", tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _derive(partial(_stop_at, calls=calls, stop="episode_000002"), takes, output)
    assert not output.exists()
    _derive(partial(_stop_at, calls=calls, stop=""), takes, output)
    assert calls.read_text().split().count("episode_000000") == 1
    assert sorted(path.name for path in output.iterdir()) == [
        f.name for f in episode_folders(takes)
    ]
