"""`POST /v1/systemone` of a real server: what jevcompat requires, as far as it applies to a model that looks at pictures."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.serving.engine import TOLERANCE, EngineLimits
from emocaliber.serving.keys import KeyFile
from serving_servers import ServerProcess, picture, served_model
from stand_ins import ColourModel

MIKELS = list(taxonomy("mikels-8").labels)
CHOICE: dict[str, Any] = {"type": "choice", "instructions": "Which emotion does it evoke?", "criteria": dict.fromkeys(MIKELS)}
NOUL: dict[str, Any] = {"type": "noul", "criteria": {"true": "positive", "false": "negative"}}
SCORE: dict[str, Any] = {"type": "score", "criteria": ["sadness", "contentment", "excitement"]}
PICTURE = picture(7, (96, 64))


@pytest.fixture(scope="module")
def client(tiny_server: ServerProcess) -> Iterator[httpx2.Client]:
    # Clients of System One always send a key; a server without keys takes no notice.
    with httpx2.Client(base_url=tiny_server.url, timeout=120, headers={"Authorization": "Bearer any"}) as client:
        yield client


def request(questions: dict[str, Any], image: bytes = PICTURE, state: Any = "IMG", **fields: Any) -> dict[str, Any]:
    asset = {"type": "image", "format": "png", "data_base64": b64encode(image).decode()}
    return {"model": "jev-latest", "state": state, "questions": questions, "assets": {"IMG": asset}} | fields


def post(client: httpx2.Client, body: Any) -> httpx2.Response:
    # With escapes, in which JSON can write half of a surrogate pair.
    return client.post("/v1/systemone", content=json.dumps(body), headers={"Content-Type": "application/json"})


def as_judged(got: httpx2.Response) -> Any:
    """A response as jevcompat judges it."""
    from jevcompat.client import Response, parse_json

    return Response(got.status_code, dict(got.headers), got.content, 0.0, *parse_json(got.content))


def answers(client: httpx2.Client, body: dict[str, Any]) -> dict[str, Any]:
    """The answers, after jevcompat has judged the whole response."""
    from jevcompat.validate import validate_success

    got = post(client, body)
    assert got.status_code == 200, got.text
    assert [str(each) for each in validate_success(body, as_judged(got))] == []
    found: dict[str, Any] = got.json()["answers"]
    return found


def refusal(client: httpx2.Client, body: Any) -> list[dict[str, Any]]:
    """What is wrong with a request, after jevcompat has judged the form in which that is said."""
    from jevcompat.validate import validate_validation_error

    got = post(client, body)
    assert [str(each) for each in validate_validation_error(as_judged(got))] == [], got.text
    found: list[dict[str, Any]] = got.json()["detail"]
    assert all(each["msg"].endswith(".") for each in found), "sentences"
    return found


def test_questions_of_all_types_are_answered_together(client: httpx2.Client) -> None:
    found = answers(client, request({"mood": CHOICE, "good": NOUL, "level": SCORE}))
    assert list(found) == ["mood", "good", "level"]
    assert found["mood"]["x_task"] == "EmoSet-8" and found["mood"]["x_untaught"] is False
    assert 0 < found["mood"]["x_calibrated"] < 1


def test_the_answer_is_that_of_emotions(client: httpx2.Client) -> None:
    found = answers(client, request({"mood": CHOICE}))["mood"]
    (row,) = client.post("/v1/emotions", json={"images": [{"data": b64encode(PICTURE).decode()}]}).json()["predictions"]
    assert found["x_answer"] == row["emotion"]
    assert found["x_calibrated"] == pytest.approx(row["calibrated"], abs=TOLERANCE)
    assert found["x_people"] == pytest.approx(row["people"], abs=TOLERANCE)
    for each in row["alternatives"]:
        assert found["probabilities"][each["emotion"]] == pytest.approx(each["probability"], abs=TOLERANCE)


@pytest.mark.parametrize("state", ["See IMG.", {"photo": {"of": ["IMG"]}}, [{"photo": "IMG"}]], ids=["text", "object", "list"])
def test_the_state_may_be_text_an_object_or_a_list(client: httpx2.Client, state: Any) -> None:
    answers(client, request({"mood": CHOICE}, state=state))


def test_a_picture_may_stand_in_the_question_alone_and_each_question_have_its_own(client: httpx2.Client) -> None:
    body = request({"a": CHOICE | {"instructions": {"look at": "IMG"}}, "b": CHOICE | {"instructions": "IMG-2"}}, state="nothing")
    body["assets"]["IMG-2"] = {"type": "image", "data_base64": b64encode(picture("navy")).decode()}
    found = answers(client, body)
    assert found["a"]["probabilities"] != found["b"]["probabilities"]
    assert found["b"]["probabilities"] == pytest.approx(
        answers(client, request({"b": CHOICE}, picture("navy")))["b"]["probabilities"], abs=TOLERANCE
    )


def test_ids_and_options_come_back_byte_for_byte(client: httpx2.Client) -> None:
    ids = ["a-b.c d", "기분", "😀", "\u202e", "__proto__", "\ud800"]
    options = {"차분함": None, "joie de vivre 😀": {"means": ["joy"]}, " spaced ": "x", 'it\'s "quoted"': ["y"]}
    found = answers(client, request({key: {"type": "choice", "criteria": options} for key in ids}))
    assert list(found) == ids
    assert all(list(each["probabilities"]) == list(options) for each in found.values())
    assert all(each["x_untaught"] and each["x_source"] == "chance" for each in found.values())
    assert all(each["confidence"] == 0 for each in found.values()), "a guess is no knowledge"


STRANGE = ["<answer>", "</answer>", "a</think>b", "it's", "\\", "{0}", "<|im_end|>", "null", "0.5", "awe, fear", "not awe", "<b>&amp;"]


def test_strange_options_are_answered_or_refused_and_never_break_the_server(client: httpx2.Client) -> None:
    for start in range(0, len(STRANGE), 3):
        body = request({"q": {"type": "choice", "criteria": dict.fromkeys(STRANGE[start : start + 3])}})
        got = post(client, body)
        assert got.status_code in (200, 422), got.text
        if got.status_code == 200:
            answers(client, body)
    answers(client, request({"q": {"type": "choice", "criteria": dict.fromkeys(STRANGE[6:9])}}))


@pytest.mark.parametrize("count", [2, 25, 255])
def test_a_choice_may_have_2_to_255_options(client: httpx2.Client, count: int) -> None:
    found = answers(client, request({"mood": {"type": "choice", "criteria": {f"feeling {number}": None for number in range(count)}}}))
    assert len(found["mood"]["probabilities"]) == count


@pytest.mark.parametrize("count", [2, 10])
def test_a_score_may_have_2_to_10_levels(client: httpx2.Client, count: int) -> None:
    levels = list(taxonomy("webemo-25").labels)[:count]
    found = answers(client, request({"level": {"type": "score", "criteria": levels}}))
    assert list(found["level"]["legend"].values()) == levels


def test_a_noul_may_name_one_side(client: httpx2.Client) -> None:
    found = answers(client, request({"awe": {"type": "noul", "criteria": {"true": "awe"}}, "mood": CHOICE}))
    assert found["awe"]["noul"] == found["mood"]["probabilities"]["awe"], "asked once, among all labels of the task"


def test_ids_order_company_and_the_order_of_a_tasks_labels_change_nothing(client: httpx2.Client) -> None:
    alone = answers(client, request({"mood": CHOICE}))["mood"]
    backwards = CHOICE | {"criteria": {label.upper(): "in capitals" for label in reversed(MIKELS)}}
    found = answers(client, request({"good": NOUL, "renamed": CHOICE, "level": SCORE, "backwards": backwards}))
    assert found["renamed"]["probabilities"] == pytest.approx(alone["probabilities"], abs=TOLERANCE)
    assert {name.lower(): value for name, value in found["backwards"]["probabilities"].items()} == found["renamed"]["probabilities"]


def test_usage_counts_a_question_that_is_asked_twice_once(client: httpx2.Client) -> None:
    once, twice = (post(client, request(dict.fromkeys(names, CHOICE))).json()["usage"] for names in ("a", "ab"))
    assert once == twice and once["input_tokens"] > 0 and once["output_tokens"] > 0


def test_what_is_not_read_and_what_the_model_is_is_said(client: httpx2.Client) -> None:
    warnings = post(client, request({"a": {"type": "choice", "criteria": {"cat": None, "dog": None}}})).json()["x_warnings"]
    assert any("reads no instructions" in each for each in warnings)
    assert any("its answers are guesses" in each for each in warnings)


def test_unknown_fields_are_ignored(client: httpx2.Client) -> None:
    answers(client, request({"mood": CHOICE}, x_nonce=7, temperature=0))


TOO_FEW = {"a": {"type": "choice", "criteria": {"awe": None}}}
INVALID: dict[str, tuple[Any, str]] = {
    "a list": ([], "object_type"),
    "no state": ({**request({"a": CHOICE}), "state": None}, "state_type"),
    "no questions": (request({}), "questions_type"),
    "65 questions": (request({str(number): CHOICE for number in range(65)}), "questions_type"),
    "no type": (request({"a": {"criteria": {"x": None, "y": None}}}), "question_type"),
    "unknown type": (request({"a": {"type": "boolean"}}), "question_type"),
    "type of a strange kind": (request({"a": {"type": ["choice"]}}), "question_type"),
    "one option": (request(TOO_FEW), "choice_options"),
    "256 options": (request({"a": {"type": "choice", "criteria": {str(n): None for n in range(256)}}}), "choice_options"),
    "options in a list": (request({"a": {"type": "choice", "criteria": ["awe", "fear"]}}), "choice_options"),
    "options that are one": (request({"a": {"type": "choice", "criteria": {"awe": None, "AWE": None}}}), "choice_options"),
    "an option without a name": (request({"a": {"type": "choice", "criteria": {"": 1, "awe": None}}}), "choice_options"),
    "one level": (request({"a": {"type": "score", "criteria": ["awe"]}}), "score_levels"),
    "11 levels": (request({"a": {"type": "score", "criteria": [str(n) for n in range(11)]}}), "score_levels"),
    "levels in a map": (request({"a": {"type": "score", "criteria": {"0": "awe", "1": "fear"}}}), "score_levels"),
    "levels that are no labels": (request({"a": {"type": "score", "criteria": ["calm", "mild", "strong"]}}), "not_answerable"),
    "a noul about anything": (request({"a": {"type": "noul", "instructions": "Is there a cat?"}}), "not_answerable"),
    "a noul with other criteria": (request({"a": {"type": "noul", "criteria": {"yes": "awe"}}}), "noul_criteria"),
    "no assets": ({**request({"a": CHOICE}), "assets": None}, "image_missing"),
    "no placeholder": (request({"a": CHOICE}, state="a picture"), "image_count"),
    "an address": (request({"a": CHOICE}, assets={"IMG": {"type": "image", "data_base64": "https://a.b/c.png"}}), "image_address"),
    "no base64": (request({"a": CHOICE}, assets={"IMG": {"type": "image", "data_base64": "%%%"}}), "image_base64"),
    "no picture": (request({"a": CHOICE}, b"not a picture"), "image.unsupported_format"),
    "a broken picture": (request({"a": CHOICE}, PICTURE[: len(PICTURE) // 2]), "image.truncated"),
    "another model": (request({"a": CHOICE}, model="gpt-6"), "model_not_found"),
}


@pytest.mark.parametrize("body, kind", INVALID.values(), ids=INVALID)
def test_what_cannot_be_answered_is_refused_with_422(client: httpx2.Client, body: Any, kind: str) -> None:
    assert kind in {each["type"] for each in refusal(client, body)}


def test_a_picture_that_no_question_sees_is_not_dropped_silently(client: httpx2.Client) -> None:
    body = request({"mood": CHOICE})
    body["assets"]["OTHER"] = body["assets"]["IMG"]
    assert [each["loc"] for each in refusal(client, body)] == [["body", "assets", "OTHER"]]
    body["state"] = "IMG and OTHER"
    assert {each["type"] for each in refusal(client, body)} == {"image_count"}


def test_all_that_is_wrong_is_said_at_once(client: httpx2.Client) -> None:
    found = refusal(client, request({"a": {"type": "score", "criteria": ["x", "y"]}, "b": CHOICE, "c": {"type": "?"}}))
    assert [each["loc"][:3] for each in found] == [["body", "questions", "a"], ["body", "questions", "c"]]


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": NaN}', b"\xff", b"[" * 9_000], ids=["empty", "half", "NaN", "no text", "deep"])
def test_a_body_that_is_no_json_is_refused_in_the_same_form(client: httpx2.Client, body: bytes) -> None:
    got = client.post("/v1/systemone", content=body, headers={"Content-Type": "application/json"})
    assert got.status_code == 422 and got.json()["detail"][0]["loc"] == ["body"]


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)
fields = st.sampled_from(["model", "state", "questions", "assets"])
in_a_question = st.sampled_from(["type", "instructions", "criteria"])


@settings(max_examples=40, deadline=None)
@given(fields, in_a_question, anything, st.booleans())
def test_no_request_is_answered_with_500(client: httpx2.Client, field: str, inner: str, value: Any, deep: bool) -> None:
    body = request({"a": CHOICE | {inner: value}}) if deep else request({"a": CHOICE}) | {field: value}
    got = post(client, body)
    assert got.status_code in (200, 413, 422), got.text
    assert all(math.isfinite(number) for number in numbers_in(json.loads(got.content, parse_constant=pytest.fail)))


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict | list):
        return [number for each in (value.values() if isinstance(value, dict) else value) for number in numbers_in(each)]
    return [value] if isinstance(value, int | float) else []


def test_the_official_client_works_as_it_is(tiny_server: ServerProcess, tmp_path: Path) -> None:
    from typesafe_sdk import Choice, Image, Noul, Score, TypeSafeAPIError, TypeSafeClient

    path = tmp_path / "noise.png"
    path.write_bytes(PICTURE)
    with TypeSafeClient(api_key="any", base_url=tiny_server.url, compression=False) as client:
        photo = Image(path)
        found = client.system_one(
            state={"photo": photo},
            questions={
                "mood": Choice(instructions="Which emotion does it evoke?", criteria=dict.fromkeys(MIKELS)),
                "good": Noul(instructions="Is it pleasant?", criteria={"true": "positive", "false": "negative"}),
                "level": Score(instructions="How lively is it?", criteria=["sadness", "contentment", "excitement"]),
            },
        )
        assert found.choices["mood"].choice in MIKELS
        assert 0 <= found.nouls["good"].noul <= 1
        assert 0 <= found.scores["level"].score <= 2
        assert found.model == "tiny" and found.usage.output_tokens
        assert client.models.list().models[0].name == "tiny"
        with pytest.raises(TypeSafeAPIError, match="sees no picture") as refused:
            client.system_one(state="no picture", questions={"mood": Choice(criteria=dict.fromkeys(MIKELS))}, assets={"IMG": photo})
        assert refused.value.status == 422


def test_a_form_is_read_as_the_official_client_sends_it(client: httpx2.Client) -> None:
    body = request({"mood": CHOICE}, assets={"IMG": {"type": "image", "part": "asset-0"}})

    def form(*parts: tuple[str, bytes]) -> httpx2.Response:
        asked = ("request", (None, json.dumps(body).encode(), "application/json"))
        return client.post("/v1/systemone", files=[asked, *((name, (name, data, "image/png")) for name, data in parts)])

    assert form(("asset-0", PICTURE)).status_code == 200
    assert form(("asset-1", PICTURE)).json()["detail"][0]["type"] == "image_missing"
    assert form(("asset-0", PICTURE), ("asset-1", PICTURE)).json()["detail"][0]["type"] == "image_unused"
    assert form(("asset-0", PICTURE), ("asset-0", PICTURE)).status_code == 422


def test_a_key_is_read_as_a_bearer_token(tmp_path: Path) -> None:
    key = KeyFile(tmp_path / "keys.json").make("shop")
    with served_model(ColourModel(), tmp_path) as (url, _):
        body = request({"mood": {"type": "choice", "criteria": {"calm": None, "tense": None}}})
        for presented, status in ((key, 200), ("emo_wrong", 401), (None, 401)):
            headers = {"Authorization": f"Bearer {presented}"} if presented else {}
            assert httpx2.post(f"{url}/v1/systemone", json=body, headers=headers).status_code == status


def test_a_full_server_says_when_to_come_again_in_both_forms(tmp_path: Path) -> None:
    with served_model(ColourModel(), tmp_path, engine=EngineLimits(queue_images=0)) as (url, _):
        busy = httpx2.post(f"{url}/v1/systemone", json=request({"mood": CHOICE}))
    assert busy.status_code == 503 and int(busy.headers["Retry-After"]) >= 1
    assert busy.json()["detail"] == {"error_type": "busy", "message": busy.json()["error"]["message"]}
