"""The checks that need no model reject faulty texts for the right reason, and accept good ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from drawn_rows import drawn_rows
from emocaliber.core.response import Reasoning, Response, parse, render
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import taxonomy_of
from emocaliber.veccot.checks import CHECKS, CheckSettings, NearDuplicateIndex, draft, reasoning_of, register_check, rejection_reasons

GOOD = Reasoning(
    element="A red kite stands out against the blue.",
    human="A laughing girl holds its string and leans back.",
    context="The meadow is wide and sunny.",
    interaction="The girl and the kite pull at each other.",
    analysis="Play in the sun is carefree, which evokes amusement.",
)


def sample(label: str = "amusement", task: str = "EmoSet-8", name: str = "one") -> Sample:
    known = taxonomy_of(task)
    assert known is not None
    return Sample(name, "/one.png", task, known.labels, label, "test", "train")


def found(text: str, *, of: Sample | None = None, accepted: NearDuplicateIndex | None = None, **limits: Any) -> dict[str, str]:
    """What is wrong with a text, by check."""
    made = draft(of or sample(), text, accepted or NearDuplicateIndex(), CheckSettings(**limits))
    return {each.check: each.detail for each in rejection_reasons(made, CHECKS)}


def told(answer: str = "amusement", **steps: str) -> str:
    return render(Response(replace(GOOD, **steps), answer))


def test_a_good_text_passes() -> None:
    assert found(told()) == {}
    assert found(f"\n{told()}\n") == {}, "space around it is no fault"


def test_the_form_is_that_of_the_one_parser() -> None:
    assert found(told().replace("<human>", "")) == {"form": "missing_tag: there is no <human>"}
    assert found(f"Sure! {told()}")["form"].startswith("stray_text")
    assert found(told() + "<confidence>0.90</confidence>")["form"].startswith("unexpected_confidence"), "only stage 2 teaches it"
    assert found("")["form"].startswith("empty")


def test_the_answer_is_the_label() -> None:
    assert found(told("fear", analysis="It is grim, which evokes fear.")) == {"answer": "the answer is fear, and the label amusement"}
    assert found(told("bliss"))["form"].startswith("not_a_candidate")


def test_steps_have_a_plausible_length() -> None:
    assert found(told(context="A meadow.")) == {"length": "<context> has 9 characters; 12 to 2,000 are wanted"}
    assert found(told(context="A meadow."), shortest=9) == {}
    assert set(found(told(context="A sunny meadow. " * 200))) == {"length"}


@pytest.mark.parametrize("said", ["It is full of amusement.", "AMUSEMENT is in the air.", "Such amusement!", "An amusement-like mood."])
def test_the_label_is_not_named_before_the_analysis(said: str) -> None:
    assert found(told(context=said))["label_before_analysis"].startswith("<context> names the label: ")


def test_an_alias_of_the_label_is_the_label_too() -> None:
    steps = {"context": "A sad and empty street.", "analysis": "It evokes sadness."}
    assert "sad and empty" in found(told("sadness", **steps), of=sample("sadness"))["label_before_analysis"]
    assert found(told("fear", context="A sad and empty street."), of=sample("fear")) == {}, "another label may be named"


def test_words_that_only_contain_the_label_are_not_the_label() -> None:
    assert found(told("awe", context="An awesome, awful, lawed place."), of=sample("awe")) == {}


@pytest.mark.parametrize("said", ["as the label says", "given  emotion", "the Ground\nTruth", "As an AI, I see", "I was told so"])
def test_phrases_that_leak_the_label_or_the_model_are_forbidden(said: str) -> None:
    assert "forbidden_phrase" in found(told(analysis=f"It is fun, {said}, which evokes amusement."))


def test_forbidden_phrases_are_a_setting() -> None:
    assert found(told(), forbidden=("red kite",))["forbidden_phrase"].startswith("it says ")
    assert found(told(analysis="As an AI I call it amusement."), forbidden=()) == {}


@pytest.mark.parametrize(
    "nobody", ["There is nobody in it.", "No people are visible.", "There are no visible human figures.", "No one is there."]
)
def test_nobody_and_somebody_contradict_each_other(nobody: str) -> None:
    detail = found(told(human=nobody))["contradiction"]
    assert detail.startswith("<human> says that nobody is there, and <interaction> speaks of a person: ")
    assert found(told(human=nobody, interaction="The kite pulls at its string.")) == {}
    assert "<context> says that nobody" in found(told(context=f"The meadow is sunny. {nobody}"))["contradiction"]


@pytest.mark.parametrize(
    "steps",
    [
        {"human": "There is nobody in it.", "interaction": "With no people around, the kite rules the sky."},
        {"human": "There are no people, only a statue of a woman.", "interaction": "The statue of the woman looks at the kite."},
        {"human": "No person is shown.", "interaction": "The kite and the personality of the place go together."},
        {"human": "A man stands alone, with nobody near him.", "interaction": "The man is alone with the kite."},
    ],
)
def test_what_only_looks_like_a_contradiction_passes(steps: dict[str, str]) -> None:
    assert found(told(**steps)) == {}


def test_the_reasoning_of_another_sample_is_not_taken_again() -> None:
    accepted = NearDuplicateIndex()
    accepted.add("first", reasoning_of(draft(sample(), told(), accepted, CheckSettings())))
    assert found(told(), accepted=accepted) == {"near_duplicate": "about 100 % of its phrases are those of first"}
    assert found(told(), of=sample(name="first"), accepted=accepted) == {}, "a sample's own earlier text is no other's"
    assert found(told(), accepted=accepted, similarity=1.01) == {}
    assert found(told(element="A huge grey whale glides below the surface of the water."), accepted=accepted) == {}


def test_adding_a_check_is_one_function() -> None:
    try:

        @register_check
        def no_kites(draft: Any) -> str | None:
            return "it speaks of a kite" if "kite" in draft.text else None

        assert found(told()) == {"no_kites": "it speaks of a kite"}
    finally:
        CHECKS[:] = [each for each in CHECKS if each.__name__ != "no_kites"]


Plant = Callable[[Sample, Response, random.Random], str | None]


def leak(of: Sample, said: Response, chance: random.Random) -> str:
    step = chance.choice(("element", "human", "context", "interaction"))
    words = chance.choice(
        (f" It is full of {of.ground_truth}.", f" The label is {of.ground_truth}.", f" {of.ground_truth.upper()} all over.")
    )
    return render(replace(said, reasoning=replace(said.reasoning, **{step: getattr(said.reasoning, step) + words})))


def wrong_answer(of: Sample, said: Response, chance: random.Random) -> str:
    return render(replace(said, answer=chance.choice([each for each in of.candidates if each != of.ground_truth])))


def missing_step(of: Sample, said: Response, chance: random.Random) -> str:
    step = chance.choice(("element", "human", "context", "interaction", "analysis"))
    return render(said).replace(f"<{step}>{getattr(said.reasoning, step)}</{step}>", chance.choice(("", f"<{step}></{step}>")))


def contradiction(of: Sample, said: Response, chance: random.Random) -> str | None:
    """The figure and nobody change places, in <human> alone."""
    if "figure" in said.reasoning.interaction.lower():
        human = chance.choice(("There is nobody in the picture.", "Nobody can be seen."))
    elif "nobody" in said.reasoning.interaction.lower():
        human = chance.choice(("There is a laughing child. The figure seems pleasant.", "A crying woman can be seen."))
    else:
        return None
    return render(replace(said, reasoning=replace(said.reasoning, human=human)))


RIGHT = {leak: "label_before_analysis", wrong_answer: "answer", missing_step: "form", contradiction: "contradiction"}


def scenes(n: int) -> Iterator[tuple[Sample, str]]:
    for number, row in enumerate(drawn_rows(n)):
        yield Sample.from_row(row, f"scene {number}"), row["response"]


@pytest.mark.slow
def test_planted_faults_are_rejected_for_the_right_reason_and_good_texts_are_not() -> None:
    planted: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    good = good_rejected = 0
    accepted = NearDuplicateIndex()
    for number, (of, text) in enumerate(scenes(2000)):
        chance = random.Random(number)
        made = draft(of, text, accepted, CheckSettings())
        good, good_rejected = good + 1, good_rejected + bool(rejection_reasons(made, CHECKS))
        if not rejection_reasons(made, CHECKS):
            accepted.add(of.id, reasoning_of(made))
        said = parse(text, of.candidates)
        assert isinstance(said, Response)
        plant = list(RIGHT)[number % len(RIGHT)]
        if (faulty := plant(of, said, chance)) is not None:
            planted[plant.__name__] += 1
            caught[plant.__name__] += RIGHT[plant] in {
                each.check for each in rejection_reasons(draft(of, faulty, NearDuplicateIndex(), CheckSettings()), CHECKS)
            }
    assert min(planted.values()) > 200
    assert all(caught[name] >= 0.99 * count for name, count in planted.items()), (planted, caught)
    assert good_rejected <= 0.01 * good, (good_rejected, good)
