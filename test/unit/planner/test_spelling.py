"""Words with typing errors."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vla_ros.planner.spelling import Spelling

WORDS = ("cylinder", "smallest", "object", "plate", "ball", "bowl")
SPELLING = Spelling(WORDS)


@st.composite
def typed(draw: st.DrawFn) -> tuple[str, str]:
    """A word of five letters or more, and what comes of it with one typing error."""
    word = draw(st.sampled_from([word for word in WORDS if len(word) >= 5]))
    place = draw(st.integers(0, len(word) - 1))
    letter = draw(st.sampled_from(string.ascii_lowercase))
    return word, draw(
        st.sampled_from(
            [
                word[:place] + word[place + 1 :],
                word[:place] + letter + word[place:],
                word[:place] + letter + word[place + 1 :],
                word[:place] + word[place : place + 2][::-1] + word[place + 2 :],
            ]
        )
    )


@given(typed())
def test_a_long_word_is_found_with_any_one_error(pair: tuple[str, str]) -> None:
    word, with_error = pair
    assume(with_error not in WORDS)

    assert word in SPELLING.meant(with_error)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("object", {"object"}),
        ("blal", {"ball"}),
        ("baall", {"ball"}),
        ("bull", set()),
        ("call", set()),
        ("smaleste", set()),
        ("elephant", set()),
        ("", set()),
    ],
)
def test_a_short_word_is_found_with_a_slip_only(word: str, meant: set[str]) -> None:
    assert SPELLING.meant(word) == meant
