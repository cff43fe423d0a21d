"""Strategies are models made of models: one reply to each request, in order, lazily, whatever they ask in between."""

from __future__ import annotations

import copy
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count, islice
from math import log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emocaliber.core.model import Model, ModelError, Reply, Request, Tokens, Usage
from emocaliber.core.prompts import load_prompt, prompt_names
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.models.openai.model import RemoteModel
from emocaliber.models.strategies import (
    CoarseToFine,
    Consistent,
    Face,
    SelfJudged,
    SetOfVision,
    Strategy,
    apply,
    polarity_of,
    read_faces,
)
from faulty_server import Answer, Asked, FaultyServer, completion

LABELS = taxonomy("mikels-8").labels
POLARITIES = Labels(("positive", "negative"))
POSITIVE, NEGATIVE = LABELS[:4], LABELS[4:]
IMAGE = Image.new("RGB", (300, 200), "gray")


def said(answer: str, others: Mapping[str, float] | None = None) -> Reply:
    """A lenient reply, whose answer has what probability the `others` leave."""
    rest = others or {}
    likeliest = [{b"<answer>": 0.0}, {answer.encode(): log(1 - sum(rest.values()))}, {b"</answer>": 0.0}]
    likeliest[1] |= {name.encode(): log(probability) for name, probability in rest.items()}
    pieces = (b"<answer>", answer.encode(), b"</answer>")
    logprobs = tuple(places[piece] for places, piece in zip(likeliest, pieces, strict=True))
    return Reply(f"<answer>{answer}</answer>", 1.0, Tokens(pieces, logprobs, likeliest), Usage(10, 3, 0.5))


def judged(true: float) -> Reply:
    return Reply("True", 1.0, Tokens((b"True",), (log(true),), [{b"True": log(true), b"False": log(1 - true)}]), Usage(20, 1, 0.25))


UNREAD = Reply("I would rather not say.", 1.0, Tokens((b"I",), (0.0,), [{b"I": 0.0}]), Usage(10, 3, 0.5))
FAILED = Reply("", 1.0, error=ModelError("timeout", "it took too long"))


@dataclass
class Scripted:
    """Says what it is told to, takes requests `ahead` of its replies as streaming models do, and remembers what it was asked."""

    say: Callable[[Request], Reply]
    ahead: int = 1
    name: str = "scripted"
    notice: str | None = "It reads from a sheet."
    window: int | None = None
    spent: Usage = field(default_factory=lambda: Usage(1, 2, 3.0))
    asked: list[Request] = field(default_factory=list)

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        waiting: deque[Request] = deque()
        for request in requests:
            self.asked.append(request)
            waiting.append(request)
            if len(waiting) >= self.ahead:
                yield self.say(waiting.popleft())
        while waiting:
            yield self.say(waiting.popleft())


def question(key: str = "a", candidates: tuple[str, ...] = LABELS, seed: int = 1) -> Request:
    return Request(IMAGE, load_prompt("direct").question("EmoSet-8", candidates, confidence=False), candidates, key, seed)


def only(model: Model, request: Request | None = None) -> Reply:
    (reply,) = model.answer([request or question()])
    return reply


STRATEGIES: Mapping[str, Callable[[Model], Model]] = {
    "consistent": lambda model: Consistent(model, 2, lenient=True),
    "self-judged": lambda model: SelfJudged(model, lenient=True),
    "coarse to fine": CoarseToFine,
    "set of vision": lambda model: SetOfVision(model, lambda request: [Face((0.1, 0.1, 0.5, 0.5))] if request.seed % 2 else []),
    "all": lambda model: apply(Strategy(consistency=2, p_true=True, coarse_to_fine=True), model, True),
}
every_strategy = pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
FATES = ("answered", "unread", "failed", "sentiment")


def fated(request: Request) -> Reply:
    """What becomes of a request is in its key; the final reply carries the key, so that it can be told whose it is."""
    fate = request.key.partition(" ")[0]
    if not request.candidates:
        return judged(0.75)
    reply = {"unread": UNREAD, "failed": FAILED}.get(fate) or said(request.candidates[0])
    return replace(reply, text=f"{reply.text} {request.key}")


@every_strategy
@given(fates=st.lists(st.sampled_from(FATES), max_size=12), ahead=st.integers(1, 9))
def test_each_request_has_its_own_reply_in_order_whatever_became_of_the_others(
    make: Callable[[Model], Model], fates: list[str], ahead: int
) -> None:
    asked = [question(f"{fate} {place}", POLARITIES if fate == "sentiment" else LABELS, place) for place, fate in enumerate(fates)]
    replies = list(make(Scripted(fated, ahead)).answer(asked))
    assert [reply.text.split()[-2:] for reply in replies] == [request.key.split() for request in asked]
    assert [reply.error is not None for reply in replies] == [fate == "failed" for fate in fates]


@every_strategy
@pytest.mark.parametrize("ahead", [1, 4])
def test_requests_are_taken_a_few_ahead_only(make: Callable[[Model], Model], ahead: int) -> None:
    taken: list[int] = []

    def endless() -> Iterator[Request]:
        for place in count():
            taken.append(place)
            yield question(f"answered {place}", seed=place)

    assert len(list(islice(make(Scripted(fated, ahead)).answer(endless()), 3))) == 3
    assert len(taken) <= 3 + 4 * ahead


@every_strategy
def test_to_whoever_looks_it_is_the_model_that_it_asks(make: Callable[[Model], Model]) -> None:
    model = Scripted(fated, window=7)
    made = copy.copy(make(model))
    assert (made.name, made.notice, made.window) == (model.name, model.notice, 7)
    assert getattr(made, "spent") == model.spent  # noqa: B009, a protocol does not have it
    assert not hasattr(made, "tasks")


# Consistency


def by_seed(answers: Mapping[int, Reply]) -> Callable[[Request], Reply]:
    """A model whose first answer is awe, and whose samples are the others in turn."""
    sampled: Counter[str] = Counter()

    def say(request: Request) -> Reply:
        if request.temperature is None:
            return said("awe")
        sampled[request.key] += 1
        return answers[sampled[request.key]]

    return say


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([said("awe"), said("AWE"), said("fear"), said("awe")], 0.75),
        ([said("fear"), said("fear")], 0.0),
        ([said("awe"), UNREAD], 0.5),  # what cannot be read disagrees
        ([said("awe"), FAILED], 1.0),  # what failed says nothing
        ([FAILED, FAILED], None),
    ],
)
def test_consistency_is_the_share_of_samples_that_agree(samples: list[Reply], expected: float | None) -> None:
    reply = only(Consistent(Scripted(by_seed(dict(enumerate(samples, 1)))), len(samples), lenient=True))
    assert reply.text == "<answer>awe</answer>"
    assert reply.further == {"consistency": expected}


def test_an_answer_that_cannot_be_read_has_no_consistency() -> None:
    assert only(Consistent(Scripted(lambda _: UNREAD), 2, lenient=True)).further == {"consistency": None}
    assert only(Consistent(Scripted(lambda _: said("awe")), 2, lenient=False)).further == {"consistency": None}, "it is not in five steps"


def test_samples_have_seeds_of_their_own_which_nothing_beside_them_changes() -> None:
    alone, among = Scripted(fated), Scripted(fated)
    list(Consistent(alone, 3, temperature=0.4).answer([question("b", seed=2)]))
    list(Consistent(among, 3, temperature=0.4).answer([question("a", seed=1), question("b", seed=2)]))
    assert alone.asked[0] == question("b", seed=2), "the first is asked as it is"
    assert {request.temperature for request in alone.asked[1:]} == {0.4}
    assert alone.asked == among.asked[4:]
    assert len({request.seed for request in among.asked}) == 8


def test_a_reply_costs_what_all_of_its_replies_cost() -> None:
    model = apply(Strategy(consistency=4, p_true=True, coarse_to_fine=True), Scripted(fated), True)
    reply = only(model, question("answered 1"))
    assert reply.usage == Usage((1 + 5) * 10 + 20, (1 + 5) * 3 + 1, (1 + 5) * 0.5 + 0.25), "a first step, five second ones, a judgement"
    assert reply.seconds == 7
    assert only(Consistent(Scripted(lambda _: Reply("?", 1.0)), 2)).usage is None


# P(True)


def test_the_model_judges_its_own_answer_to_the_same_image_with_one_token() -> None:
    model = Scripted(lambda request: said("fear") if request.candidates else judged(0.75))
    reply = only(SelfJudged(model, lenient=True))
    assert reply.further == {"p_true": pytest.approx(0.75)}
    first, second = model.asked
    assert first == question()
    assert second.image is first.image
    assert first.question in second.question and "fear" in second.question
    assert (second.max_new_tokens, second.temperature, second.key) == (1, 0.0, first.key)


@pytest.mark.parametrize("reply", [UNREAD, FAILED, Reply("<answer>awe</answer>", 1.0)], ids=["unread", "failed", "without tokens"])
def test_where_nothing_can_come_of_it_nothing_is_judged(reply: Reply) -> None:
    model = Scripted(lambda _: reply)
    assert only(SelfJudged(model, lenient=True)) == replace(reply, further={"p_true": None})
    assert len(model.asked) == 1


def test_other_spellings_of_a_label_are_read_as_the_question_knows_them() -> None:
    replies = {None: said("sad"), 0.7: said("sadness")}
    model = Scripted(lambda request: replies[request.temperature] if request.candidates else judged(0.5))
    asking = SelfJudged(Consistent(model, 1, lenient=True), lenient=True)
    asked = replace(question(), candidates=Labels.of(LABELS, taxonomy("mikels-8")))
    assert only(asking, asked).further == {"consistency": 1.0, "p_true": pytest.approx(0.5)}
    assert only(asking).further["consistency"] is None, "where nothing says that sad is sadness"


# Coarse to fine


def two_steps(first: Reply, candidates: tuple[str, ...] = LABELS, prompt: str = "direct") -> list[Request]:
    """What is asked when the first answer is `first`."""
    model = Scripted(lambda request: first if request.candidates == POLARITIES else said(request.candidates[0]))
    text = load_prompt(prompt).question("EmoSet-8", candidates)
    assert only(CoarseToFine(model), Request(IMAGE, text, candidates)).text == said(model.asked[-1].candidates[0]).text
    return model.asked


@pytest.mark.parametrize("prompt", prompt_names())
@pytest.mark.parametrize(("answer", "kept", "gone"), [("positive", POSITIVE, NEGATIVE), ("negative", NEGATIVE, POSITIVE)])
def test_a_sure_first_answer_leaves_the_candidates_of_its_polarity(
    prompt: str, answer: str, kept: tuple[str, ...], gone: tuple[str, ...]
) -> None:
    other = POLARITIES[answer == "positive"]
    coarse, fine = two_steps(said(answer, {other: 0.1}), prompt=prompt)
    assert all(label in coarse.question for label in LABELS)
    assert tuple(fine.candidates) == kept
    assert all(f"'{label}'" in fine.question for label in kept)
    assert not any(label in fine.question for label in gone)


@pytest.mark.parametrize(("other", "narrowed"), [(0.18, True), (0.19, False), (0.5, False)])
def test_an_unsure_one_leaves_all_and_is_told(other: float, narrowed: bool) -> None:
    # Equation 4 of SEPM: the variance of 0.82 and 0.18 is 0.102, that of 0.81 and 0.19 is 0.096; the threshold lies between
    _, fine = two_steps(said("negative", {"positive": other}))
    assert (tuple(fine.candidates) == NEGATIVE) == narrowed
    assert (f"positive with probability {other:.0%} and negative with {1 - other:.0%}" in fine.question) == (not narrowed)


def test_without_log_probabilities_the_first_answer_is_taken_at_its_word() -> None:
    assert tuple(two_steps(Reply("<answer>Negative.</answer>", 1.0))[1].candidates) == NEGATIVE


@pytest.mark.parametrize("first", [UNREAD, FAILED])
def test_a_first_answer_that_says_nothing_changes_nothing(first: Reply) -> None:
    assert two_steps(first)[1].question == load_prompt("direct").question("EmoSet-8", LABELS)


@pytest.mark.parametrize("candidates", [POLARITIES, POSITIVE, ("calm", "wild"), ("calm", "fear")])
def test_candidates_that_are_not_of_both_polarities_are_asked_about_as_they_are(candidates: tuple[str, ...]) -> None:
    model = Scripted(fated)
    only(CoarseToFine(model), question("answered 1", candidates))
    assert model.asked == [question("answered 1", candidates)]


def test_a_candidate_of_unknown_polarity_stays_on_both_sides() -> None:
    candidates = ("awe", "fear", "calm")
    assert tuple(two_steps(said("positive"), candidates)[1].candidates) == ("awe", "calm")
    assert tuple(two_steps(said("negative"), candidates)[1].candidates) == ("fear", "calm")


@pytest.mark.parametrize(
    ("name", "otherwise"), [("mikels-8", ["awe"]), ("webemo-25", ["lust", "sympathy"]), ("webemo-7", []), ("unbiasedemo-6", [])]
)
def test_every_emotion_has_the_polarity_of_its_family_and_few_have_another_valence(name: str, otherwise: list[str]) -> None:
    emotions = taxonomy(name)
    assert {polarity_of(label) for label in emotions.labels} == set(POLARITIES)
    positive = {label for label in emotions.labels if polarity_of(label) == "positive"}
    assert [label for label in emotions.labels if (emotions.vad[label].valence > 0) != (label in positive)] == otherwise


# Set of Vision

FACE = Face((0.1, 0.2, 0.5, 0.8), ((0.3, 0.5),))


def test_faces_are_marked_on_a_copy_and_the_question_says_so() -> None:
    model = Scripted(fated)
    only(SetOfVision(model, lambda _: [FACE, Face((0.6, 0.2, 0.9, 0.8))]), question("answered 1"))
    (asked,) = model.asked
    red, lime, grey = (255, 0, 0), (0, 255, 0), (128, 128, 128)
    assert [asked.image.getpixel(at) for at in ((30, 100), (150, 150), (90, 100), (179, 150), (269, 150))] == [red, red, red, lime, lime]
    assert [asked.image.getpixel(at) for at in ((10, 100), (120, 100), (230, 100))] == [grey] * 3
    assert len(IMAGE.getcolors() or ()) == 1, "the image itself is as it was"
    assert "numbers 1 to 2" in asked.question and "landmarks" in asked.question
    assert asked.question.endswith(question().question)


def test_an_image_without_a_face_is_asked_about_as_it_is() -> None:
    model = Scripted(fated)
    only(SetOfVision(model, lambda _: []), question("answered 1"))
    assert model.asked == [question("answered 1")]


def test_faces_are_read_by_id_or_image(tmp_path: Path) -> None:
    file = tmp_path / "faces.jsonl"
    file.write_text(
        '{"id": "a", "image": "z", "faces": [{"box": [0.1, 0.2, 0.5, 0.8], "landmarks": [[0.3, 0.5]]}]}\n'
        '{"image": "b.png", "faces": [{"box": [0, 0, 1, 1]}]}\n{"id": "c", "faces": []}\n'
    )
    faces = read_faces(file)
    assert [list(faces(question(key))) for key in ("a", "b.png", "c")] == [[FACE], [Face((0, 0, 1, 1))], []]
    with pytest.raises(UserError, match=r"faces\.jsonl has no row for z; find the faces of all images first"):
        faces(question("z"))


@pytest.mark.parametrize(
    "row",
    [
        '{"faces": []}',
        '{"id": "a"}',
        '{"id": "a", "faces": null}',
        '{"id": "a", "faces": [[0.1, 0.2, 0.5, 0.8]]}',
        '{"id": "a", "faces": [{"box": [0.1, 0.2, 0.5]}]}',
        '{"id": "a", "faces": [{"box": [0.5, 0.2, 0.1, 0.8]}]}',
        '{"id": "a", "faces": [{"box": [10, 20, 50, 80]}]}',
        '{"id": "a", "faces": [{"box": [0.1, 0.2, 0.5, 0.8], "landmarks": [[0.1, 7]]}]}',
    ],
)
def test_a_row_that_has_no_faces_is_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "faces.jsonl").write_text('{"id": "x", "faces": []}\n' + row)
    with pytest.raises(UserError, match=r'faces\.jsonl, line 2: this is not \{"id": "x", "faces": .* fractions of the sides'):
        read_faces(tmp_path / "faces.jsonl")


# Settings


def test_without_a_strategy_the_model_is_itself() -> None:
    model = Scripted(fated)
    assert apply(Strategy(), model, False) is model


def test_all_of_them_together_ask_what_each_of_them_would(tmp_path: Path) -> None:
    (tmp_path / "faces.jsonl").write_text('{"id": "answered 1", "faces": [{"box": [0, 0, 1, 1]}]}')
    strategy = Strategy(consistency=2, consistency_temperature=0.3, p_true=True, coarse_to_fine=True, faces=str(tmp_path / "faces.jsonl"))
    model = Scripted(fated)
    reply = only(apply(strategy, model, True), question("answered 1"))
    assert reply.further == {"consistency": 1.0, "p_true": pytest.approx(0.75)}
    assert all("marked with boxes" in request.question for request in model.asked)
    kinds = Counter((len(request.candidates), request.temperature) for request in model.asked)
    assert kinds == {(2, 0.0): 1, (4, None): 1, (4, 0.3): 2, (0, 0.0): 1}


@pytest.mark.parametrize(
    ("strategy", "complaint"),
    [
        (Strategy(consistency=-1), "consistency is -1; give how often"),
        (Strategy(consistency=3, consistency_temperature=0.0), r"consistency_temperature is 0\.0; it must be above 0"),
        (Strategy(faces="nowhere.jsonl"), r"nowhere\.jsonl: cannot be read"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(strategy: Strategy, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        apply(strategy, Scripted(fated), False)


# A real server


def test_all_strategies_over_a_server_ask_each_question_once_and_count_what_they_spend(tmp_path: Path) -> None:
    def behaviour(asked: Asked) -> Answer:
        if asked.fields["max_tokens"] == 1:
            return Answer(completion("True", pieces=["True"], written=1), delay=0.01)
        word = "positive" if "positive or negative" in asked.question else "awe"
        return Answer(completion(f"<answer>{word}</answer>", pieces=["<answer>", word, "</answer>"], written=3), delay=0.01)

    def ask(server: FaultyServer) -> tuple[list[Reply], Usage]:
        journal = tmp_path / "journal"
        remote = RemoteModel("gpt", base_url=server.url, concurrency=2, prices=(1e6, 1e6), journal=journal, retries=0)
        model = apply(Strategy(consistency=2, p_true=True, coarse_to_fine=True), remote, True)
        asked = [question(f"image {place}", seed=place) for place in range(12)]
        images = [Image.new("RGB", (28, 28), (20 * place, 0, 0)) for place in range(12)]
        return list(model.answer(replace(each, image=image) for each, image in zip(asked, images, strict=True))), remote.spent

    with FaultyServer(behaviour) as server:
        replies, spent = ask(server)
        arrived = len(server.asked)
        again, _ = ask(server)
    assert [reply.text for reply in replies] == ["<answer>awe</answer>"] * 12
    assert all(reply.further == {"consistency": 1.0, "p_true": 1.0} for reply in replies)
    assert arrived == 12 * (1 + 3 + 1), "a first step, a second one and two samples of it, a judgement"
    assert len(server.asked) == arrived, "and nothing is paid for twice"
    assert [reply.text for reply in again] == [reply.text for reply in replies]
    assert spent.completion_tokens == 12 * (3 + 3 * 3 + 1)
