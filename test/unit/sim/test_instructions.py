"""The training grammar, the held-out phrasings, and users' phrasing files."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from vla_ros.sim.instruction_files import (
    HELD_OUT_FILE,
    REQUIRED_SLOTS,
    PhrasingError,
    instruction_directory,
    load_grammar,
    load_nouns,
    load_phrasings,
)
from vla_ros.sim.instructions import (
    Instruction,
    PhrasingBook,
    sample_instruction,
    training_frames,
)

SKILLS = tuple(REQUIRED_SLOTS)
GOALS: dict[str, tuple[str | tuple[str, str] | None, str | None]] = {
    "reach": (None, None),
    "push": (None, "left"),
    "lift": (None, None),
    "place": ("bowl", None),
    "stack": (("blue", "cylinder"), None),
}


def draw(skill: str, seed: int, split: str = "train") -> Instruction:
    target, direction = GOALS[skill]
    rng = np.random.default_rng(seed)
    return sample_instruction(rng, skill, ("red", "cube"), target, direction, split)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", re.sub(r"\{\w+\}", " ", text.lower())))


def training_words() -> set[str]:
    folder = instruction_directory()
    grammar, nouns = load_grammar(folder / "train.yaml"), load_nouns(folder / "nouns.yaml")
    frames = [*grammar.wrappers, *grammar.sentence_wrappers]
    for skill in SKILLS:
        frames += [*training_frames(skill), *grammar.skills[skill].asides]
    found = set().union(*(words(branch) for f in frames for part in f.parts for branch in part))
    for table in (nouns.colours, nouns.shapes, nouns.containers, nouns.directions):
        for meanings in table.values():
            found |= words(" ".join((*meanings.common, *meanings.rare)))
    return found


@pytest.mark.parametrize("skill", SKILLS)
def test_every_held_out_template_holds_a_word_that_training_never_shows(skill: str) -> None:
    held_out = load_phrasings(instruction_directory() / HELD_OUT_FILE)[skill]
    known = training_words()

    assert len(held_out) >= 15
    assert [template for template in held_out if not words(template) - known] == []


@pytest.mark.parametrize("skill", SKILLS)
def test_no_held_out_template_can_be_made_by_the_training_grammar(skill: str) -> None:
    held_out = {" ".join(sorted(words(t))) for t in _held_out(skill)}
    made = {" ".join(sorted(words(t))) for f in training_frames(skill) for t in f.expand()}

    assert held_out.isdisjoint(made)


def _held_out(skill: str) -> tuple[str, ...]:
    return load_phrasings(instruction_directory() / HELD_OUT_FILE)[skill]


@pytest.mark.parametrize("skill", SKILLS)
def test_training_has_many_frames_and_thousands_of_templates(skill: str) -> None:
    grammar = load_grammar(instruction_directory() / "train.yaml")
    frames = grammar.skills[skill]
    commands = sum(1 for frame in frames.commands for _ in frame.expand())
    wrappers = sum(1 for frame in grammar.wrappers for _ in frame.expand())

    assert len(frames.commands) + len(frames.sentences) >= 100
    assert commands * wrappers >= 10_000


@pytest.mark.parametrize("skill", SKILLS)
def test_every_training_frame_has_the_slots_of_its_skill(skill: str) -> None:
    allowed = {"object", "target", "direction", "side", "into"}
    for frame in training_frames(skill):
        for template in islice(frame.expand(), 50):
            slots = set(re.findall(r"\{(\w+)\}", template))
            asked = {"direction" if slot == "side" else slot for slot in slots} - {"into"}
            assert slots <= allowed
            assert asked == set(REQUIRED_SLOTS[skill]), template


@pytest.mark.parametrize("skill", SKILLS)
def test_every_aside_is_added_to_one_clause_and_names_nothing(skill: str) -> None:
    grammar = load_grammar(instruction_directory() / "train.yaml")
    for frame in grammar.skills[skill].asides:
        for text in frame.expand():
            assert re.findall(r"\{\w+\}", text) == ["{clause}"], text


@pytest.mark.parametrize("split", ["train", "phrasing"])
@pytest.mark.parametrize("skill", SKILLS)
def test_equal_seeds_give_equal_sentences_with_nothing_left_to_fill_in(
    skill: str, split: str
) -> None:
    for seed in range(200):
        text = draw(skill, seed, split).text
        assert text == draw(skill, seed, split).text
        assert text == text.strip()
        assert not set("{}[]|") & set(text), text
        assert len(text) <= 200


@pytest.mark.parametrize("skill", SKILLS)
def test_training_sentences_hardly_ever_repeat(skill: str) -> None:
    texts = {draw(skill, seed).text.lower() for seed in range(1000)}

    assert len(texts) > 900


def test_a_sentence_carries_its_meaning() -> None:
    stack = draw("stack", 3)
    place = draw("place", 3)
    push = draw("push", 3)

    assert (stack.skill, stack.colour, stack.shape) == ("stack", "red", "cube")
    assert (stack.target_colour, stack.target_shape) == ("blue", "cylinder")
    assert (stack.container, stack.direction) == (None, None)
    assert place.container == "bowl"
    assert push.direction == "left"


def test_a_task_that_does_not_fit_its_skill_is_refused() -> None:
    with pytest.raises(ValueError, match="'push' does not go with target None and direction None"):
        sample_instruction(np.random.default_rng(0), "push", ("red", "cube"))


def test_a_users_phrasings_get_plain_words_and_the_right_article(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(
        "stack: ['park a {object} on the {target}']\npush: ['{object} to the {direction}']\n",
        encoding="utf-8",
    )
    book = PhrasingBook.from_phrasings(path)
    rng = np.random.default_rng(0)

    stack = book.sample(rng, "stack", ("orange", "cube"), target=("red", "cylinder"))
    push = book.sample(rng, "push", ("red", "ball"), direction="forward")

    assert stack.text == "park an orange cube on the red cylinder"
    assert push.text == "red ball to the forward"
    with pytest.raises(ValueError, match="no templates for skill 'lift', only for stack, push"):
        book.sample(rng, "lift", ("red", "cube"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty; expected skill -> list of templates"),
        ("- lift it", "expected skill -> templates, got a list"),
        ("lift: [", "is not YAML"),
        ("fly: ['fly to the {object}']", "skill 'fly' does not exist; expected reach, push, lift"),
        ("lift: 'lift the {object}'", "lift: expected a list of templates"),
        ("lift: []", "lift: expected a list of templates"),
        ("lift: [{object}]", r"lift\[0\]: expected text, got .* needs quotes in YAML"),
        ("lift: ['lift it']", r"lift\[0\]: 'lift it' holds no slot; .* exactly \{object\}"),
        ("push: ['push {object}']", r"push\[0\]: .* exactly \{direction\} and \{object\}"),
        ("lift: ['lift {object} to {target}']", r"holds \{object\}, \{target\}"),
        ("lift: ['lift {object} }']", "has a brace that does not belong to a slot"),
        ("lift: ['" + "x" * 400 + " {object}']", "has 409 characters; expected 1 to 300"),
    ],
)
def test_a_faulty_phrasing_file_is_refused_with_its_fault(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(PhrasingError, match=complaint) as caught:
        PhrasingBook.from_phrasings(path)

    assert str(path) in str(caught.value)


def test_a_missing_phrasing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhrasingError, match=r"nowhere\.yaml: no such file"):
        PhrasingBook.from_phrasings(tmp_path / "nowhere.yaml")
