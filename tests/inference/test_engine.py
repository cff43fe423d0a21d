"""Every question ends as exactly one result, in order; a broken run goes on as if it had not been broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from emocaliber.core.calibrators import Calibrators, Logistic, QuestionCalibrator
from emocaliber.core.model import ModelError, Reply, Request, Usage
from emocaliber.core.samples import Sample
from emocaliber.core.sources import IN_EVERY_ROW
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.inference.engine import MAX_SIDE, ImageQuestion, ask_all, question_for, respond
from emocaliber.io.images import ImageError, OpenedImage, open_image
from emocaliber.models.card import GUESSED
from stand_ins import ColourModel, photo

LABELS = taxonomy("mikels-8").labels
COLOURS = ["red", "green", "blue", "orange", "teal", "white", "black", "salmon", "gold", "navy", "pink"]
BAD = (0, 3, 4, 9)  # the first, two neighbours over the edge of a batch, one near the end


@dataclass
class Listening(ColourModel):
    """Remembers the requests of each call: their seeds, colours and sizes."""

    heard: list[list[tuple[int, object, tuple[int, int]]]] = field(default_factory=list)

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        batch = list(requests)
        self.heard.append([(each.seed, each.image.getpixel((0, 0)), each.image.size) for each in batch])
        yield from super().answer(batch)


@pytest.fixture(scope="module")
def asks(tmp_path_factory: pytest.TempPathFactory) -> list[ImageQuestion]:
    """Eleven questions, some of them about files that are no images."""
    folder = tmp_path_factory.mktemp("asks")
    paths = [photo(folder / f"{index}.png", colour) for index, colour in enumerate(COLOURS)]
    for index in BAD:
        paths[index].write_text("no image")
    return [ImageQuestion(str(index), path, question_for("EmoSet-8", LABELS), LABELS) for index, path in enumerate(paths)]


def test_every_question_has_one_result_in_order_with_failures_in_their_places(asks: list[ImageQuestion]) -> None:
    results = list(ask_all(asks, ColourModel()))
    assert [result.ask for result in results] == asks
    assert [index for index, result in enumerate(results) if result.error] == list(BAD)
    for result in results:
        assert (result.reply is None) == (result.error is not None)
        assert result.error is None or result.error.code == "unsupported_format"


def test_every_reply_is_about_its_own_image(asks: list[ImageQuestion]) -> None:
    model = ColourModel()
    for ask, result in zip(asks, ask_all(asks, model), strict=True):
        if result.reply:
            alone = next(model.answer([Request(open_image(ask.image).image, ask.question, ask.candidates)]))  # type: ignore[arg-type]
            assert result.reply.text == alone.text


def test_an_image_may_be_open_already_or_known_to_be_bad(asks: list[ImageQuestion], tmp_path: Path) -> None:
    opened = open_image(photo(tmp_path / "pink.png", "pink"))
    error = ImageError("not_found", "it is not there")
    mixed = [asks[1], ImageQuestion("open", opened, "?", LABELS), ImageQuestion("bad", error, "?", LABELS), asks[2]]
    results = list(ask_all(mixed, ColourModel()))
    assert [result.ask.key for result in results] == ["1", "open", "bad", "2"]
    assert [result.error for result in results] == [None, None, error, None]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(broken=st.integers(0, len(COLOURS)), window=st.integers(1, 12))
def test_an_interrupted_run_resumes_with_the_same_windows_and_yields_the_rest(asks: list[ImageQuestion], broken: int, window: int) -> None:
    unbroken, first, second = (Listening(window=window) for _ in range(3))
    whole = [(result.ask.key, result.reply) for result in ask_all(asks, unbroken)]

    first_results = list(islice(ask_all(asks, first), broken))
    rest = [(result.ask.key, result.reply) for result in ask_all(asks, second, done={result.ask.key for result in first_results})]

    assert [(result.ask.key, result.reply) for result in first_results] + rest == whole
    assert second.heard == unbroken.heard[len(unbroken.heard) - len(second.heard) :]
    assert len(second.heard) <= -(-(len(asks) - broken) // window) + 1, "what is whole is not asked again"


def test_a_model_without_windows_gets_one_stream_and_nothing_twice(asks: list[ImageQuestion]) -> None:
    model = Listening(window=None)
    results = list(ask_all(asks, model, done={"1", "4"}))
    assert [result.ask.key for result in results] == [ask.key for ask in asks if ask.key not in ("1", "4")]
    assert [len(requests) for requests in model.heard] == [len(asks) - len({*BAD, 1, 4})]


def test_images_are_opened_when_the_model_asks_for_them(asks: list[ImageQuestion], tmp_path: Path) -> None:
    later = tmp_path / "later.png"
    results = ask_all([*asks, ImageQuestion("later", later, "?", LABELS)], ColourModel(window=None), workers=1)
    next(results)
    photo(later)
    assert [result.error for result in results][-1] is None


def test_the_seed_of_a_question_is_its_own_whatever_is_asked_beside_it(asks: list[ImageQuestion]) -> None:
    whole, some = Listening(window=None), Listening(window=None)
    list(ask_all(asks, whole))
    list(ask_all(asks[5:8], some))
    assert some.heard[0] == whole.heard[0][2:5]
    assert len({seed for seed, _, _ in whole.heard[0]}) == len(whole.heard[0])


def test_what_a_model_cannot_answer_is_an_error_with_its_reply(asks: list[ImageQuestion]) -> None:
    class Refusing(ColourModel):
        def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
            return (Reply("", 0.1, error=ModelError("refused", "it would not say")) for _ in requests)

    results = list(ask_all(asks, Refusing()))
    assert [result.error.code for result in results if result.error] == ["unsupported_format" if i in BAD else "refused" for i in range(11)]
    row = next(respond(samples(asks)[1:2], Refusing()))
    assert (row["response"], row["error"]) == (None, {"code": "refused", "message": "it would not say"})
    assert set(row["confidence"].values()) == {None}


def test_nothing_is_asked_when_everything_is_done(asks: list[ImageQuestion]) -> None:
    model = Listening()
    assert list(ask_all(asks, model, done={ask.key for ask in asks})) == []
    assert model.heard == []


@pytest.mark.parametrize("done", [set(), {"0", "1", "2", "3"}, {"1", "5"}, {str(index) for index in range(11)}])
def test_progress_counts_what_is_through_skipped_or_not(asks: list[ImageQuestion], done: set[str]) -> None:
    counts: list[int] = []
    list(ask_all(asks, ColourModel(window=4), done=done, progress=counts.append))
    assert counts == sorted(counts)
    assert set(counts) >= set(range(len(done) + 1, 12)) - {int(key) + 1 for key in done}
    assert counts[-1] == 11


def test_large_pictures_reach_the_model_reduced(tmp_path: Path) -> None:
    model = Listening()
    huge = photo(tmp_path / "huge.png", "teal", (MAX_SIDE * 2, 500))
    list(ask_all([ImageQuestion("huge", huge, "?", LABELS)], model))
    assert model.heard[0][0][2] == (MAX_SIDE, 250)


def samples(asks: list[ImageQuestion], task: str = "EmoSet-8") -> list[Sample]:
    return [
        Sample(id=ask.key, image=str(ask.image), task=task, candidates=LABELS, ground_truth="fear", source="test", split="test")
        for ask in asks
    ]


def test_a_response_row_is_the_sample_and_what_came_of_it(asks: list[ImageQuestion]) -> None:
    rows = list(respond(samples(asks), ColourModel()))
    assert [row["id"] for row in rows] == [ask.key for ask in asks]
    good, bad = rows[1], rows[3]
    assert (good["model"], good["task"], good["ground_truth"], good["error"]) == ("colour", "EmoSet-8", "fear", None)
    assert good["response"].startswith("<think>")
    assert 0 <= good["confidence"]["verb"] <= 1
    assert bad["response"] is None
    assert bad["error"]["code"] == "unsupported_format"
    assert bad["confidence"] == dict.fromkeys(IN_EVERY_ROW)
    assert (good["prompt"], "lenient" in good) == ("emocaliber", False)


def test_calibrators_add_two_fields_to_every_row(asks: list[ImageQuestion]) -> None:
    labels = tuple(samples(asks)[1].candidates)
    given = Calibrators((QuestionCalibrator("EmoSet-8", labels, Logistic(("verb",), (1.0,), 0.0)),))
    rows = list(respond(samples(asks), ColourModel(), calibrators=given))
    good, bad = rows[1], rows[3]
    assert (
        good["calibrated"] == pytest.approx(min(max(good["confidence"]["verb"], 0.001), 0.999), abs=1e-6) and good["uncalibrated"] is None
    )
    assert (bad["calibrated"], bad["uncalibrated"]) == (None, "there is no answer that can be read")
    other = list(respond(samples(asks), ColourModel(), calibrators=replace(given, model={"name": "grey"}).for_model("colour")))
    assert other[1]["uncalibrated"] == "it was fitted on answers of grey, not of colour"


def test_a_guess_about_an_unfamiliar_picture_is_not_calibrated(asks: list[ImageQuestion]) -> None:
    class Lost(ColourModel):
        unfamiliar = "rgb"
        guesses_unfamiliar = True

    given = Calibrators((QuestionCalibrator("EmoSet-8", tuple(samples(asks)[1].candidates), Logistic(("verb",), (1.0,), 0.0)),))
    row = list(respond(samples(asks), Lost(), calibrators=given))[1]
    assert (row["calibrated"], row["uncalibrated"]) == (None, GUESSED) and row["confidence"]["verb"] is not None


def test_a_strict_reading_is_said_in_the_row_and_a_strategys_sources_are_in_it(asks: list[ImageQuestion]) -> None:
    class Terse(ColourModel):
        def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
            for _ in requests:
                yield Reply("<answer>awe</answer><confidence>0.4</confidence>", 0.1, usage=Usage(10, 5, 0.25), further={"p_true": 0.6})

    strict, lenient = (next(respond(samples(asks)[1:2], Terse(), lenient=lenient)) for lenient in (False, True))
    assert (strict["confidence"]["verb"], lenient["confidence"]["verb"]) == (None, 0.4)
    assert (strict["lenient"], lenient.get("lenient")) == (False, None)
    assert lenient["confidence"]["p_true"] == 0.6
    assert lenient["usage"] == {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.25}


def test_rows_of_a_broken_run_and_of_its_continuation_are_those_of_one_run(asks: list[ImageQuestion]) -> None:
    whole = list(respond(samples(asks), ColourModel()))
    assert [row for row in respond(samples(asks), ColourModel(), done={"0", "1", "2"})] == whole[3:]


def test_the_question_is_about_sentiment_for_sentiment_tasks_alone() -> None:
    assert "Which sentiment might" in question_for("FI-2", ("positive", "negative"))
    assert "Which sentiment might" in question_for("webemo-2", ("positive", "negative"))
    assert "Which emotion might" in question_for("EmoSet-8", LABELS)
    assert "Which emotion might" in question_for("my own task", ("calm", "wild"))


@pytest.mark.parametrize("confidence", [True, False])
def test_a_confidence_is_asked_for_where_it_is_wanted(asks: list[ImageQuestion], confidence: bool) -> None:
    asked: list[str] = []

    class Reader(ColourModel):
        def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
            for request in requests:
                asked.append(request.question)
                yield from super().answer([request])

    list(respond(samples(asks[1:3]), Reader(), confidence=confidence))
    assert [("<confidence>" in question) for question in asked] == [confidence] * 2


def test_an_image_may_be_made_when_the_model_takes_its_request(colour_model: ColourModel, tmp_path: Path) -> None:
    made: list[str] = []

    def make(colour: str) -> OpenedImage | ImageError:
        made.append(colour)
        return OpenedImage(Image.new("RGB", (8, 8), colour), ("drawn",)) if colour != "none" else ImageError("corrupt", "no image")

    candidates = Labels.of(("awe", "fear"))
    asks = [ImageQuestion(colour, partial(make, colour), "which?", candidates) for colour in ("red", "none", "lime")]
    asks.insert(1, ImageQuestion("file", str(photo(tmp_path / "a.png")), "which?", candidates))
    results = ask_all(asks, colour_model)
    assert made == []
    found = list(results)
    assert made == ["red", "none", "lime"]
    assert [result.ask.key for result in found] == ["red", "file", "none", "lime"]
    assert [result.error.code if result.error else None for result in found] == [None, None, "corrupt", None]
    assert found[0].notes == ("drawn",)
