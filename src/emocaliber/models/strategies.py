"""Inference strategies: self-consistency, P(True), coarse-to-fine questions and Set-of-Vision prompts.

Each wraps a model and is a model itself, so strategies nest; requests are taken and replies given lazily and in order.
docs/baselines.md names the method behind each.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, groupby, islice, repeat
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from emocaliber.core.model import Model, Reply, Request, Usage, mixed_seed
from emocaliber.core.prompts import listed
from emocaliber.core.sources import P_TRUE_QUESTION, consistency, evidence, p_true
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import BUILT_IN, POLARITIES, polarity_by_family, taxonomy
from emocaliber.errors import UserError
from emocaliber.io.plugins import Registry
from emocaliber.io.rows import display_name, numbered_rows

__all__ = ["STRATEGIES", "CoarseToFine", "Consistent", "Face", "SelfJudged", "SetOfVision", "Strategy", "apply", "read_faces"]


@dataclass(frozen=True)
class Strategy:
    """The strategies of a run; by default none.

    `consistency` is the number of further answers to each question, sampled at `consistency_temperature` (`Consistent`); `p_true` is
    `SelfJudged`, `coarse_to_fine` is `CoarseToFine`, and `faces` a file for `SetOfVision`, in the form of `read_faces`. `further` has the
    settings of strategies that plug-ins have added, by their names.
    """

    consistency: int = 0
    consistency_temperature: float = 0.7
    p_true: bool = False
    coarse_to_fine: bool = False
    faces: str | None = None
    further: Mapping[str, Any] = field(default_factory=dict)


# Each makes of a model one that is asked its way, by the settings and by whether answers are read leniently; or returns it as it is. They
# are applied in this order, the last one outermost.
STRATEGIES: Registry[Callable[[Model, Strategy, bool], Model]] = Registry("strategy")


def apply(strategy: Strategy, model: Model, lenient: bool) -> Model:
    """The model, wrapped in the strategies; `lenient` says how its answers are parsed. Raises UserError for an invalid setting."""
    for name in strategy.further:
        STRATEGIES.named(name)
    for make in STRATEGIES.values():
        model = make(model, strategy, lenient)
    return model


@STRATEGIES.register("faces")
def _with_faces(model: Model, strategy: Strategy, lenient: bool) -> Model:
    return SetOfVision(model, read_faces(strategy.faces)) if strategy.faces else model


@STRATEGIES.register("consistency")
def _with_consistency(model: Model, strategy: Strategy, lenient: bool) -> Model:
    if strategy.consistency < 0:
        raise UserError(f"consistency is {strategy.consistency}; give how often each question is asked again, such as 5, or 0 for never")
    if strategy.consistency and not strategy.consistency_temperature > 0:
        raise UserError(f"consistency_temperature is {strategy.consistency_temperature}; it must be above 0, or all samples are the same")
    if not strategy.consistency:
        return model
    return Consistent(model, strategy.consistency, temperature=strategy.consistency_temperature, lenient=lenient)


@STRATEGIES.register("coarse_to_fine")
def _coarse_to_fine(model: Model, strategy: Strategy, lenient: bool) -> Model:
    return CoarseToFine(model) if strategy.coarse_to_fine else model


@STRATEGIES.register("p_true")
def _with_p_true(model: Model, strategy: Strategy, lenient: bool) -> Model:
    return SelfJudged(model, lenient=lenient) if strategy.p_true else model


# Shared by all strategies.


class Wrapper:
    """Base class: a model with the attributes of the model that it wraps."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name, self.notice, self.window = model.name, model.notice, model.window

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "model":  # `copy` looks such names up before there is a model
            raise AttributeError(name)
        return getattr(self.model, name)


def paired_replies(model: Model, requests: Iterable[Request], question: Callable[[Request], Request]) -> Iterator[tuple[Request, Reply]]:
    """Each request with the reply to `question(request)`.

    Requests are kept in a queue, not in a `tee`: the model may take them in another thread than the one that consumes its replies.
    """
    waiting: deque[Request] = deque()

    def questions() -> Iterator[Request]:
        for request in requests:
            waiting.append(request)
            yield question(request)

    for reply in model.answer(questions()):
        yield waiting.popleft(), reply


def extended(reply: Reply, others: Sequence[Reply], further: Mapping[str, float | None] | None = None) -> Reply:
    """The reply with the seconds and usage of `others` added to its own, and with confidences from `further` sources."""
    usages = [each.usage for each in (reply, *others) if each.usage]
    costs = [usage.cost for usage in usages if usage.cost is not None]
    usage = Usage(
        sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages), sum(costs) if costs else None
    )
    seconds = reply.seconds + sum(other.seconds for other in others)
    return replace(reply, seconds=seconds, usage=usage if usages else None, further={**reply.further, **(further or {})})


# Self-consistency (Wang et al. 2023, Xiong et al. 2024).


class Consistent(Wrapper):
    """Confidence by agreement: asks each question, and samples it `samples` times more at `temperature`.

    `further["consistency"]` of the first reply is the share of samples with the same answer. A sample that cannot be parsed counts as
    different; one that failed is not counted. A request with its own temperature, such as the first step of `CoarseToFine`, is asked once.
    """

    def __init__(self, model: Model, samples: int, *, temperature: float = 0.7, lenient: bool = True) -> None:
        super().__init__(model)
        self._samples, self._temperature, self._lenient = samples, temperature, lenient

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order, with the cost of all its samples."""
        waiting: deque[Request] = deque()

        def questions() -> Iterator[Request]:
            for request in requests:
                waiting.append(request)
                yield request
                if request.temperature is None:
                    yield from self._again(request)

        replies = self.model.answer(questions())
        for reply in replies:
            request = waiting.popleft()
            if request.temperature is None:
                sampled = list(islice(replies, self._samples))
                reply = extended(reply, sampled, {"consistency": self._agreement(request, reply, sampled)})
            yield reply

    def _again(self, request: Request) -> Iterator[Request]:
        for number in range(self._samples):
            yield replace(request, seed=mixed_seed(request.seed, number), temperature=self._temperature)

    def _agreement(self, request: Request, reply: Reply, sampled: list[Reply]) -> float | None:
        first = evidence(reply, request.candidates, lenient=self._lenient)
        others = [evidence(each, request.candidates, lenient=self._lenient) for each in sampled if not each.error]
        return consistency(first.response.answer, [other.response.answer if other else None for other in others]) if first else None


# P(True) (Kadavath et al. 2022).


class SelfJudged(Wrapper):
    """Confidence by self-judgement: shows the model the image and its answer, and asks whether the answer is right.

    `further["p_true"]` is the probability of True. It is None, and nothing is asked, without an answer or log-probabilities.
    """

    def __init__(self, model: Model, *, lenient: bool = True) -> None:
        super().__init__(model)
        self._lenient = lenient

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order, with the cost of its judgement."""
        waiting: deque[tuple[Reply, bool]] = deque()  # replies, and whether they are judged

        def questions() -> Iterator[Request]:
            for request, reply in paired_replies(self.model, requests, lambda request: request):
                judgement = self._judgement(request, reply)
                waiting.append((reply, judgement is not None))
                if judgement:
                    yield judgement

        verdicts = chain(self.model.answer(questions()), repeat(None))  # after the last verdict, only replies without one are left
        for verdict in verdicts:
            while waiting:
                reply, judged = waiting.popleft()
                if judged:
                    break
                yield extended(reply, [], {"p_true": None})
            else:
                return
            assert verdict is not None, "a model gives one reply for each request"
            yield extended(reply, [verdict], {"p_true": p_true(verdict)})

    def _judgement(self, request: Request, reply: Reply) -> Request | None:
        understood = evidence(reply, request.candidates, lenient=self._lenient) if reply.tokens else None
        if not understood:
            return None
        question = P_TRUE_QUESTION.format(question=request.question, answer=understood.response.answer)
        return Request(request.image, question, key=request.key, seed=request.seed, temperature=0.0, max_new_tokens=1)


# Coarse-to-fine inference (Fang et al. 2025).

_POLARITIES = Labels(POLARITIES)
CERTAIN = 0.1  # alpha of that paper: the least variance of the two probabilities (eq. 4 there) at which the first answer is relied on
_QUESTION = (
    "Is the emotion that this image evokes positive or negative? Positive emotions are {positive}; negative emotions are {negative}. "
    "Respond in the format: <answer>{{positive or negative}}</answer>"
)


class CoarseToFine(Wrapper):
    """SEPM's confidence-guided inference: asks about the polarity, then the question with the candidates of that polarity only.

    All candidates stay where the first answer cannot be parsed, or where the two probabilities are too close; in that case they are added
    to the question. Without log-probabilities the first answer is always relied on. Questions without candidates of both polarities, such
    as those about sentiment, are asked unchanged. The reply is the one to the second question.

    The other half of SEPM, which drops image tokens with little attention, needs the inside of the model and is not implemented.
    """

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order, with the cost of both questions."""
        for two_steps, part in groupby(requests, _can_be_narrowed):
            yield from (self._narrowed if two_steps else self.model.answer)(part)

    def _narrowed(self, requests: Iterable[Request]) -> Iterator[Reply]:
        firsts: deque[Reply] = deque()

        def questions() -> Iterator[Request]:
            for request, first in paired_replies(self.model, requests, _coarse):
                firsts.append(first)
                yield _fine(request, first)

        for reply in self.model.answer(questions()):
            yield extended(reply, [firsts.popleft()])


@cache
def polarity_of(label: str) -> str | None:
    """The polarity of an emotion by the families of the built-in taxonomies (not by its valence: awe's is just below 0); else None.

    A polarity itself is no emotion.
    """
    for emotions in map(taxonomy, BUILT_IN):
        name = emotions.canonical(label)
        if name and name not in POLARITIES and (found := polarity_by_family(name, emotions)):
            return found
    return None


def _can_be_narrowed(request: Request) -> bool:
    return {polarity_of(label) for label in request.candidates} >= set(_POLARITIES) and listed(request.candidates) in request.question


def _of(candidates: Labels, wanted: str) -> Labels:
    """The candidates of the wanted polarity, and those of unknown polarity."""
    return candidates.only(label for label in candidates if polarity_of(label) in (wanted, None))


def _coarse(request: Request) -> Request:
    members = {each: ", ".join(label for label in request.candidates if polarity_of(label) == each) for each in _POLARITIES}
    return replace(request, question=_QUESTION.format(**members), candidates=_POLARITIES, temperature=0.0)


def _fine(request: Request, first: Reply) -> Request:
    understood = evidence(first, _POLARITIES)
    if understood is None:
        return request
    choice = understood.at_answer
    if choice:
        positive, negative = (choice.distribution[each] for each in _POLARITIES)
        if ((positive - negative) / 2) ** 2 < CERTAIN:
            hint = f" At first sight the emotion seemed positive with probability {positive:.0%} and negative with {negative:.0%}."
            return replace(request, question=request.question + hint)
    kept = _of(request.candidates, understood.response.answer)
    return replace(request, question=request.question.replace(listed(request.candidates), listed(kept)), candidates=kept)


# Set-of-Vision prompting (SoV; Zhang et al. 2024).

_COLOURS = ("red", "lime", "blue", "yellow", "magenta", "cyan")


class SetOfVision(Wrapper):
    """Marks the faces on a copy of each image with boxes, numbers and landmarks, and explains the marks in the question.

    Images without a face are asked about unchanged.
    """

    def __init__(self, model: Model, faces: Faces) -> None:
        super().__init__(model)
        self._faces = faces

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order."""
        return self.model.answer(self._marked(request) for request in requests)

    def _marked(self, request: Request) -> Request:
        faces = self._faces(request)
        if not faces:
            return request
        numbers = "number 1" if len(faces) == 1 else f"numbers 1 to {len(faces)}"
        dots = "; the dots are landmarks of the faces" if any(face.landmarks for face in faces) else ""
        hint = f"The faces in this image are marked with boxes, {numbers}{dots}. Look at each of them, and at the scene around them. "
        return replace(request, image=marked(request.image, faces), question=hint + request.question)


def marked(image: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """A copy of the image with a coloured box around each face, its number at the upper left corner, and a dot on each landmark."""
    copy = image.convert("RGB")
    draw = ImageDraw.Draw(copy)
    width, height = copy.size
    line = max(1, round(max(width, height) / 300))
    for number, face in enumerate(faces, start=1):
        colour = _COLOURS[(number - 1) % len(_COLOURS)]
        left, top, right, bottom = (round(value * side) for value, side in zip(face.box, (width - 1, height - 1) * 2, strict=True))
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        font = ImageFont.load_default(max(12, (bottom - top) // 4))
        corner = draw.textbbox((left + line, top + line), str(number), font=font)
        draw.rectangle(corner, fill="black")
        draw.text((left + line, top + line), str(number), fill="white", font=font)
        for x, y in face.landmarks:
            draw.circle((x * (width - 1), y * (height - 1)), line + 1, fill=colour)
    return copy


@dataclass(frozen=True)
class Face:
    """A face's `box` (left, top, right, bottom) and its `landmarks` (x, y), in fractions of the upright image's width and height."""

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...] = ()


Faces = Callable[[Request], Sequence[Face]]


def read_faces(file: str | os.PathLike[str]) -> Faces:
    """The faces of each request, from rows such as `{"id": "x", "faces": [{"box": [0.1, 0.2, 0.4, 0.6], "landmarks": [[0.2, 0.3]]}]}`.

    `id` is the key of a request (the id of a sample); `image`, in its place, a path as given to `predict`. An image without a face has an
    empty list. examples/find_faces.py makes such a file. Raises UserError, naming file and line, for any other row; and, when the faces of
    a request are looked up, for a request without a row.
    """
    known: dict[str, Sequence[Face]] = {}
    for line, row in numbered_rows(file):
        try:
            known[str(row["id"] if "id" in row else row["image"])] = [_face(given) for given in row["faces"]]
        except (KeyError, TypeError, ValueError) as error:
            wanted = '{"id": "x", "faces": [{"box": [left, top, right, bottom]}]}, its numbers fractions of the sides of the image'
            raise UserError(f"{display_name(file)}, line {line}: this is not {wanted} ({error!r})") from error

    def faces(request: Request) -> Sequence[Face]:
        if request.key not in known:
            where = f"{display_name(file)} has no row for {display_name(request.key)}"
            raise UserError(f"{where}; find the faces of all images first, and write an empty list where there is none")
        return known[request.key]

    return faces


def _face(given: Mapping[str, Any]) -> Face:
    left, top, right, bottom = map(float, given["box"])
    landmarks = tuple((float(x), float(y)) for x, y in given.get("landmarks") or ())
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1 and all(0 <= value <= 1 for point in landmarks for value in point)):
        raise ValueError(f"outside the image, or turned round: {dict(given)}")
    return Face((left, top, right, bottom), landmarks)
