"""`POST /v1/decisions` of a real server, asked by OpenAI's own client."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from math import fsum
from typing import Any

import openai
import pytest

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.serving.engine import TOLERANCE
from emocaliber.serving.standards.options import choice_confidence, score_confidence, score_of
from serving_servers import ServerProcess, picture

MIKELS = list(taxonomy("mikels-8").labels)
PICTURE = picture(7, (96, 64))
IMAGE: dict[str, Any] = {"type": "input_image", "image_url": f"data:image/png;base64,{b64encode(PICTURE).decode()}"}
CHOICE: dict[str, Any] = {"type": "choice", "name": "mood", "instructions": "Which?", "choices": [{"value": label} for label in MIKELS]}
SCORE: dict[str, Any] = {"type": "score", "instructions": "How?", "levels": [{"label": "sadness"}, {"label": "joy"}]}


@pytest.fixture(scope="module")
def client(tiny_server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tiny_server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, *questions: dict[str, Any], content: Any = None, model: str = "tiny") -> openai.types.Decision:
    shown = [{"type": "input_text", "text": "a photograph"}, IMAGE] if content is None else content
    return client.decisions.create(model=model, input=[{"role": "user", "content": shown}], questions=questions)  # type: ignore[arg-type]


def test_a_choice_and_a_score_are_answered_in_their_order(client: openai.OpenAI) -> None:
    found = ask(client, CHOICE, SCORE, CHOICE | {"name": "again"})
    mood, level, again = found.answers
    assert (mood.type, level.type, again.type) == ("choice", "score", "choice")
    assert (mood.name, level.name, again.name) == ("mood", None, "again")
    assert found.model == "tiny" and found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens > 0


def test_probabilities_and_confidence_are_those_of_system_one(client: openai.OpenAI) -> None:
    mood, level = ask(client, CHOICE, SCORE).answers
    assert mood.type == "choice" and level.type == "score"
    values = [each.probability for each in mood.probabilities]
    assert [each.value for each in mood.probabilities] == MIKELS
    assert fsum(values) == pytest.approx(1)
    assert mood.choice == MIKELS[values.index(max(values))]
    assert mood.confidence == pytest.approx(choice_confidence(values))
    values = [each.probability for each in level.probabilities]
    assert [(each.value, each.label) for each in level.probabilities] == [(0, "sadness"), (1, "joy")]
    assert level.score == pytest.approx(score_of(values)) and level.confidence == pytest.approx(score_confidence(values))


def test_our_own_fields_come_along(client: openai.OpenAI) -> None:
    (mood,) = ask(client, CHOICE).answers
    extra = mood.model_extra or {}
    assert extra["x_source"] == "calibrated" and 0 < extra["x_calibrated"] < 1 and extra["x_untaught"] is False


def test_a_picture_may_stand_in_the_question(client: openai.OpenAI) -> None:
    inside = ask(client, CHOICE | {"instructions": [{"type": "input_text", "text": "?"}, IMAGE]}, content="see below").answers[0]
    outside = ask(client, CHOICE).answers[0]
    assert inside.type == outside.type == "choice"
    assert [each.probability for each in inside.probabilities] == pytest.approx(
        [each.probability for each in outside.probabilities], abs=TOLERANCE
    )


def test_the_alias_of_decision_models_is_taken(client: openai.OpenAI) -> None:
    assert ask(client, CHOICE, model="jev-latest").model == "tiny"


INVALID: dict[str, tuple[dict[str, Any], Any, str]] = {
    "a predicate": ({"type": "predicate", "instructions": "It is a cat."}, None, "does not read"),
    "another type": ({"type": "box"}, None, "choice or score"),
    "one choice": (CHOICE | {"choices": [{"value": "awe"}]}, None, "2 to 255"),
    "a boolean": (CHOICE | {"choices": [{"value": True}, {"value": False}]}, None, "no emotions"),
    "twice the same": (CHOICE | {"choices": [{"value": "awe"}, {"value": "awe"}]}, None, "unique"),
    "levels that are no labels": (SCORE | {"levels": [{"label": "low"}, {"label": "high"}]}, None, "no labels of one task"),
    "no picture": (CHOICE, "only words", "no pictures"),
    "two pictures": (CHOICE, [IMAGE, IMAGE], "2 pictures"),
    "an address": (CHOICE, [IMAGE | {"image_url": "https://a.b/c.png"}], "Nothing is fetched"),
    "a broken picture": (CHOICE, [IMAGE | {"image_url": "data:image/png;base64,AAAA"}], "not an image"),
    "a file": (CHOICE, [{"type": "input_file", "file_id": "1"}], "input_file"),
}


@pytest.mark.parametrize("question, content, said", INVALID.values(), ids=INVALID)
def test_what_cannot_be_answered_is_an_error_of_the_client(client: openai.OpenAI, question: Any, content: Any, said: str) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=said) as refused:
        ask(client, question, content=content)
    assert refused.value.code == "invalid_request" and refused.value.param


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="ask for tiny"):
        ask(client, CHOICE, model="gpt-6-luna")
