"""The teacher for photographs says what is known of one, in five steps, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.response import parse, render
from emocaliber.core.tasks import labels_of
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.models.constrained import START, worded
from emocaliber.photographs.content import KINDS, contents
from emocaliber.photographs.teacher import (
    UNFAMILIAR,
    Look,
    content_named,
    names_a_person,
    tone_words,
    wording,
    write_photograph_response,
)

MIKELS = taxonomy("mikels-8").labels


@pytest.mark.parametrize("person", [True, False])
@pytest.mark.parametrize("key", sorted(contents()))
def test_every_content_is_told_and_read_back(key: str, person: bool) -> None:
    content = contents()[key]
    look = Look(content, person or content.kind == "person", "bright and vivid")
    response = write_photograph_response(look, 0.4, -0.2, 0.5, "awe")
    assert content_named(response.reasoning) == content
    assert names_a_person(response.reasoning) == look.person
    assert parse(render(response), labels_of("EmoSet-8", MIKELS), confidence="forbidden") == response


def test_a_picture_that_is_no_photograph_is_unfamiliar() -> None:
    response = write_photograph_response(Look(None, False, "dark and muted"), 0.9, 0.9, 0.9, "awe")
    assert UNFAMILIAR in response.reasoning.element.casefold()
    assert content_named(response.reasoning) is None
    assert not names_a_person(response.reasoning)
    assert "at a guess" in response.reasoning.analysis.casefold()


@given(
    key=st.none() | st.sampled_from(sorted(contents())),
    person=st.booleans(),
    light=st.floats(0, 1),
    colour=st.floats(0, 1),
    felt=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    share=st.floats(0, 1),
    label=st.sampled_from(MIKELS),
)
def test_all_that_it_writes_is_in_its_wording(
    key: str | None, person: bool, light: float, colour: float, felt: tuple[float, float], share: float, label: str
) -> None:
    content = contents()[key] if key else None
    look = Look(content, person or (content is not None and content.kind == "person"), tone_words(light, colour))
    grammar = worded(labels_of("EmoSet-8", MIKELS), wording())
    state = grammar.after(START, render(write_photograph_response(look, *felt, share, label)).encode())
    assert state is not None and grammar.may_end(state)


@pytest.mark.parametrize(("share", "words"), [(0.9, "most would agree"), (0.5, "many would agree"), (0.2, "people would differ")])
def test_the_analysis_says_how_far_people_agree(share: float, words: str) -> None:
    response = write_photograph_response(Look(contents()["dog"], False, "dark and muted"), 0.9, 0.0, share, "awe")
    assert words in response.reasoning.analysis


def test_a_setting_is_named_for_places_alone() -> None:
    for content in contents().values():
        look = Look(content, content.kind == "person", "dark and muted")
        context = write_photograph_response(look, 0.0, 0.0, 0.5, "awe").reasoning.context
        assert (content.words in context) == (content.kind == "place")
        assert "dark and muted" in context


def test_light_has_two_words() -> None:
    assert tone_words(0.1, 0.05) == "dark and greyish"
    assert tone_words(0.5, 0.2) == "mid-toned and muted"
    assert tone_words(1.0, 1.0) == "bright and vivid"
    assert set(KINDS) >= {content.kind for content in contents().values()}
