"""Visual emotion comprehension for inspect_ai: the task, its scorer and its metrics, with this package's questions, parser and metrics.

inspect_ai finds them by the entry point of this package: `inspect eval emocaliber/vec -T samples=test.jsonl --model ...`. Importing this
module needs inspect_ai.
"""

from __future__ import annotations

from typing import Any

try:
    from inspect_ai import Task, task
    from inspect_ai.dataset import MemoryDataset
    from inspect_ai.dataset import Sample as InspectSample
    from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, GenerateConfig
    from inspect_ai.scorer import CORRECT, INCORRECT, Metric, SampleScore, Score, Scorer, Target, metric, scorer
    from inspect_ai.solver import TaskState, generate
except ImportError as error:
    raise ImportError("the task for inspect_ai needs it: pip install inspect_ai") from error

from emocaliber.core.prompts import load_prompt
from emocaliber.core.samples import Sample, read_samples
from emocaliber.core.scoring import VERBALIZED, Outcome, outcome
from emocaliber.errors import UserError
from emocaliber.integrations.frame_metrics import AGGREGATE, contributions

KEPT = "emocaliber"  # the field of a score's metadata that holds the contributions to each metric


@task
def vec(samples: str, task: str = "", prompt: str = "emocaliber", confidence: bool = True) -> Task:
    """The samples of a file (`bench build`, `scenes`, ...) as a task of inspect_ai; images are sent to the model as they are.

    `task` keeps the samples of one task, `prompt` is the name of a prompt or its TOML file, `confidence` says whether it asks for one.
    Raises UserError for a file without such samples.
    """
    found = [each for each in read_samples(samples) if task in ("", each.task)]
    if not found:
        raise UserError(f"{samples} has no samples{f' of {task}' if task else ''}; name a file of samples, such as bench/test.jsonl")
    return Task(
        dataset=MemoryDataset(
            [inspect_sample(each, prompt, confidence=confidence) for each in found], name=task or "vec", location=samples
        ),
        solver=generate(),
        scorer=emotion(),
        config=GenerateConfig(temperature=0.0, max_tokens=1024),
    )


def inspect_sample(sample: Sample, prompt: str = "emocaliber", *, confidence: bool = True) -> InspectSample:
    """A sample as inspect_ai has it: the image and the question as one message, the truth as the target, the rest as metadata."""
    question = load_prompt(prompt).question(sample.task, sample.candidates, confidence=confidence)
    kept = {
        name: value for name, value in sample.to_row().items() if name in ("image", "task", "candidates", "source", "votes", "posterior")
    }
    return InspectSample(
        input=[ChatMessageUser(content=[ContentImage(image=sample.image), ContentText(text=question)])],
        choices=list(sample.candidates),
        target=sample.ground_truth,
        id=sample.id,
        metadata=kept,
    )


def score_of(judged: Outcome, text: str | None) -> Score:
    """An outcome as a score of inspect_ai: right or wrong, with the answer that was read, in words, and what it adds to each metric."""
    return Score(
        value=CORRECT if judged.correct else INCORRECT,
        answer=judged.answer,
        explanation=f"{_in_words(judged)}\n\n{text or ''}".rstrip(),
        metadata={KEPT: contributions(judged)},
    )


def _in_words(judged: Outcome) -> str:
    """What was read and how it was judged, in a sentence."""
    stated = judged.confidence.get(VERBALIZED)
    said = "no confidence stated" if stated is None else f"confidence stated: {stated:.2f}"
    if judged.malformed is not None:
        return f"Counted as wrong, as no answer could be read: {judged.malformed.replace('_', ' ')}."
    if judged.correct:
        return f"Right: {judged.answer}; {said}."
    apart = "" if judged.distance is None else f" ({judged.distance:.2f} apart on the emotion loop, where 0.5 is the most)"
    return f"Wrong: {judged.answer}, not {judged.ground_truth}{apart}; {said}."


def _metrics() -> list[Metric]:
    return [known() for known in (accuracy, f1_macro, malformed, coverage, ece, brier, auroc)]


def _aggregated(name: str) -> Metric:
    def of(scores: list[SampleScore]) -> float:
        return AGGREGATE[name]([(each.score.metadata or {})[KEPT][name] for each in scores])

    return of


@metric
def accuracy() -> Metric:
    """The share of right answers; an answer that cannot be read is not right. NaN of none."""
    return _aggregated("accuracy")


@metric
def f1_macro() -> Metric:
    """The mean F1 over the labels that occur as a truth or an answer."""
    return _aggregated("f1_macro")


@metric
def malformed() -> Metric:
    """The share of answers that cannot be read."""
    return _aggregated("malformed")


@metric
def coverage() -> Metric:
    """The share of answers that state a confidence; the metrics of confidence are over these."""
    return _aggregated("coverage")


@metric
def ece() -> Metric:
    """Expected calibration error of the stated confidence."""
    return _aggregated("ece")


@metric
def brier() -> Metric:
    """Brier score of the stated confidence."""
    return _aggregated("brier")


@metric
def auroc() -> Metric:
    """How well the stated confidence separates right answers from wrong ones."""
    return _aggregated("auroc")


@scorer(metrics=_metrics())
def emotion() -> Scorer:
    """Reads the answer and its stated confidence as `emocaliber score` does. With several epochs, metrics are those of the first."""

    async def score(state: TaskState, target: Target) -> Score:
        known: dict[str, Any] = state.metadata
        text = state.output.completion
        row = {"id": str(state.sample_id), "task": known["task"], "candidates": list(known["candidates"]), "ground_truth": target.text}
        return score_of(outcome({**row, "response": text}, where=f"sample {state.sample_id}"), text)

    return score
