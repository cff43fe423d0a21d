"""Export of a finished run: weights, tokenizer and processor as transformers and vLLM load them, a model card, and a fitted
recalibration."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from emocaliber.core.model import Model, Recalibration
from emocaliber.core.samples import Sample
from emocaliber.core.scoring import is_correct
from emocaliber.core.sources import StatedNumber, log_odds, recalibrated
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.evaluation.tables import main_source
from emocaliber.inference.engine import understand
from emocaliber.io.rows import display_name, read_rows
from emocaliber.models.card import RECALIBRATION, question_key, read_card, write_card
from emocaliber.models.local import LocalModel
from emocaliber.models.processor import load_processor
from emocaliber.render.progress import Progress
from emocaliber.render.table import Table, with_interval
from emocaliber.training.config import FINISHED, SETTINGS
from emocaliber.training.distributed import print_once
from emocaliber.training.samples import held_out_samples, lineage_sample_files
from emocaliber.training.stage_card import DRAWN_ONLY
from emocaliber.training.telemetry import TELEMETRY

_OF_TRAINING = ("rollouts.json",)


def export_model(
    run: Path, out: Path, *, name: str | None = None, scored: Path | None = None, dtype: str | None = None, held_out: Path | None = None
) -> Path:
    """Writes the model of the finished stage in `run` to the new folder `out`, and returns `out`.

    Adapters are already merged. `dtype` converts the weights; the card's metrics come from `scored`, a folder of `emocaliber score`, or
    else from the run's held-out samples. With the sample file `held_out`, on which no stage of the model's lineage was trained, the
    confidence is recalibrated. Raises UserError for an unfinished run, for an existing `out`, and as `held_out_samples`,
    `lineage_sample_files` and `recalibrate` do.
    """
    model = run / FINISHED
    try:
        settings: dict[str, Any] = json.loads((run / SETTINGS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{display_name(run)} has no {SETTINGS} to read; give the folder that a stage wrote to (its `out`)") from error
    if not model.is_dir():
        raise UserError(f"{display_name(run)} has not finished; run `emocaliber train {settings['stage']}` again to resume it")
    if out.exists():
        raise UserError(f"{display_name(out)} already exists; give a new folder, or remove it")
    name = name or out.name
    card = model_card(name, settings, run, scored)
    samples = held_out_samples(held_out, lineage_sample_files(run, settings)) if held_out else []
    half = out.with_name(f".{out.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    if dtype:
        _convert(model, half, dtype)
    else:
        shutil.copytree(model, half, ignore=shutil.ignore_patterns(*_OF_TRAINING))
    load_processor(model).save_pretrained(half)  # in the current format
    write_card(half, _own_card(name, settings, read_card(model)))
    if samples:
        fits = recalibrate(half, samples)
        for labels, fit in fits.items():
            print_once(f"recalibrated for {', '.join(labels)}: {fit}")
        card = model_card(name, settings, run, scored, fits)
    (half / "README.md").write_text(card, encoding="utf-8")
    os.replace(half, out)
    return out


def push_to_hub(folder: Path, repository: str) -> str:
    """Uploads an exported folder to a private repository of the hub, created if missing; returns its URL."""
    from huggingface_hub import HfApi

    api = HfApi()
    address = str(api.create_repo(repository, private=True, exist_ok=True))
    api.upload_folder(repo_id=repository, folder_path=folder)
    return address


def _own_card(name: str, settings: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """The fields of `emocaliber.json` beside the weights: those of the stage (`kept`), name, token limit, and notice for synthetic
    training."""
    card = {**kept, "name": name, "max_new_tokens": settings.get("max_new_tokens", 1024)}
    if settings.get("scenes"):
        card["notice"] = f"{name} was trained on synthetic scenes only: its answers on photographs are meaningless."
        card |= DRAWN_ONLY
        samples = Path(settings["samples"])
        if samples.is_file():
            card["tasks"] = sorted({row["task"] for row in read_rows(samples)})
    return card


def _convert(model: Path, out: Path, dtype: str) -> None:
    import torch

    from emocaliber.training.trainer import load_checkpoint

    load_checkpoint(model, dtype=getattr(torch, dtype))[0].save_pretrained(out)


# The model card

_PARTS = {
    "stage0": "was trained to describe synthetic scenes",
    "stage1": "was trained to reason in five steps; it states no confidence",
    "stage2": "was trained to state its confidence (EmoCaliber's equation 2); it is not calibrated by reinforcement learning",
    "stage3": "was calibrated by reinforcement learning (GRPO; EmoCaliber's equations 4 and 5)",
}
# Settings of the machine and its folders, which the card leaves out.
_LOCAL_SETTINGS = ("out", "samples", "validation", "save_steps", "eval_steps", "threads", "report_to", "stop_on_alarm", "stage")
_METRICS = {"ece": "ECE", "brier": "Brier", "auroc": "AUROC"}


def model_card(
    name: str, settings: Mapping[str, Any], run: Path, scored: Path | None, fits: Mapping[Labels, RecalibrationFit] | None = None
) -> str:
    """The model card in Markdown. `settings` are the run's; metrics come from the folder `scored`, or else from the run's telemetry."""
    stage = settings["stage"]
    head = [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        f"base_model: {json.dumps(settings['model'])}"
        if "/" in str(settings.get("model", "")) and not _is_local(settings["model"])
        else "",
        "tags: [visual-emotion-comprehension, calibration, confidence]",
        "---",
    ]
    notice = "It was trained on synthetic scenes only: its answers on photographs are meaningless." if settings.get("scenes") else ""
    parts = [
        "\n".join(filter(None, head)),
        f"# {name}",
        f"Names the emotion that an image evokes. It {_PARTS[stage]}. {notice}".strip(),
        "## Calibration",
        _calibration(run, scored),
        "## Decoding",
        _decoding(settings, fits or {}),
        "## Training",
        Table(["setting", "value"], list(_settings(settings)), words=2).as_markdown(),
        "## Use",
        "```sh\nemocaliber predict photos/ --model FOLDER\nvllm serve FOLDER --max-logprobs 20\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _is_local(model: str) -> bool:
    return Path(model).exists()


def _calibration(run: Path, scored: Path | None) -> str:
    if scored is not None:
        try:
            summary = json.loads((scored / "metrics.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{display_name(scored)} has no metrics.json to read; give a folder that `emocaliber score` wrote") from error
        source = main_source(summary)
        scopes = summary["tasks"] | summary["groups"] | {"overall": summary["overall"]}
        scopes = {scope: m | m["confidence"].get(source, {}) | {"n": m["n"]} for scope, m in scopes.items()}
        return _table(scopes, f"Of {summary['n']:,} answers; confidence: {source}.")
    file = run / TELEMETRY
    evaluations = [row for row in read_rows(file) if row["kind"] == "held_out"] if file.is_file() else []
    if not evaluations:
        return "Not measured: the run had no held-out samples, and no scores were given. Do not rely on its confidence."
    last = evaluations[-1]
    note = (
        f"Of {last['n']:,} held-out samples, answered at temperature {last['temperature']:g} after step {last['step']:,}; "
        f"confidence: {last['source']}. Choices were made on these samples, so expect slightly worse results on others."
    )
    return _table(last["groups"], note)


def _table(scopes: Mapping[str, Mapping[str, Any]], note: str) -> str:
    rows = [
        [
            display_name(scope),
            f"{m['n']:,}",
            with_interval(m.get("accuracy"), m.get("accuracy_ci")),
            *(with_interval(m.get(key), m.get(f"{key}_ci")) for key in _METRICS),
        ]
        for scope, m in scopes.items()
    ]
    return Table(["", "n", "Acc", *_METRICS.values()], rows, note=f"{note} Percentages, 95 % intervals in brackets.").as_markdown()


def _decoding(settings: Mapping[str, Any], fits: Mapping[Labels, RecalibrationFit]) -> str:
    if fits:
        questions = "".join(f"- {', '.join(labels)}: {fit}\n" for labels, fit in fits.items())
        return (
            "Greedy. The confidence that `emocaliber` returns is the expected value of the stated number under its digits' probabilities, "
            f"recalibrated with two parameters for each question they were fitted on:\n\n{questions}\n"
            "For other labels, and in other software, it is not recalibrated."
        )
    if settings["stage"] != "stage3":
        return "Greedy."
    return (
        f"Its confidence was trained on answers sampled at temperature {settings['temperature']:g}. At another temperature its "
        "accuracy differs from what the confidence was trained for; `emocaliber` warns about that."
    )


def _settings(settings: Mapping[str, Any]) -> Iterator[list[str]]:
    for key, value in settings.items():
        if key not in _LOCAL_SETTINGS and not (key == "model" and _is_local(value)):
            yield [key, json.dumps(value)]


# Recalibration: temperature scaling of the confidence digits (Guo et al. 2017) and a bias on the log-odds (Platt 1999)

Floats = npt.NDArray[np.float64]

TEMPERATURES = tuple(step / 20 for step in range(2, 61))  # 0.1 to 3
BIASES = (-5.0, 5.0)
FEWEST = 100  # answers to fit on


@dataclass(frozen=True)
class RecalibrationFit:
    """A recalibration fitted on `n` answers, with their mean negative log-likelihood in nats before (`loss_before`: the expected
    confidence at temperature 1) and after (`loss`)."""

    recalibration: Recalibration
    n: int
    loss_before: float
    loss: float

    def __str__(self) -> str:
        how = f"temperature {self.recalibration.temperature:g}, log-odds moved by {self.recalibration.bias:+g}"
        why = f"negative log-likelihood {self.loss_before:.4f} nats before and {self.loss:.4f} after"
        return f"{how}; fitted on {self.n:,} held-out answers, {why}"


def recalibrate(folder: Path, samples: Sequence[Sample]) -> Mapping[Labels, RecalibrationFit]:
    """Fits a recalibration for each question among `samples`, on the greedy answers of the checkpoint in `folder`, and returns them.

    They are also written into the checkpoint's card, which names the recalibrated confidence as its source from then on. Raises UserError
    as `fit_recalibrations` does.
    """
    found = fit_recalibrations(samples, LocalModel(folder))
    entries = [{"labels": list(labels), **asdict(fit.recalibration), "n": fit.n} for labels, fit in found.items()]
    write_card(folder, read_card(folder) | {"confidence_source": recalibrated.__name__, RECALIBRATION: entries})
    return found


def fit_recalibrations(samples: Sequence[Sample], model: Model) -> Mapping[Labels, RecalibrationFit]:
    """A recalibration for each question (set of labels) among `samples`, fitted on the answers of `model`.

    Raises UserError if fewer than `FEWEST` answers to one of the questions state a confidence.
    """
    questions: dict[frozenset[str], Labels] = {}
    sizes: Counter[frozenset[str]] = Counter()
    for sample in samples:
        questions.setdefault(question_key(sample.candidates), sample.candidates)
        sizes[question_key(sample.candidates)] += 1
    answers: dict[frozenset[str], tuple[list[StatedNumber], list[bool]]] = {key: ([], []) for key in questions}
    with Progress("asking about held-out samples", "answers", len(samples)) as bar:
        for sample, _, understood in understand(samples, model, progress=bar.to):
            if understood and understood.stated_number:
                numbers, right = answers[question_key(sample.candidates)]
                numbers.append(understood.stated_number)
                right.append(is_correct(understood.response.answer, sample.ground_truth, sample.candidates))
    for key, (numbers, _) in answers.items():
        if len(numbers) < FEWEST:
            raise UserError(
                f"{len(numbers)} of the answers to {sizes[key]} held-out samples with the labels {', '.join(questions[key])} state a "
                f"confidence that can be read, and recalibration needs at least {FEWEST}: give more samples of a task that the model knows"
            )
    return {questions[key]: fit_recalibration(numbers, right) for key, (numbers, right) in answers.items()}


def fit_recalibration(numbers: Sequence[StatedNumber], right: Sequence[bool]) -> RecalibrationFit:
    """The maximum-likelihood recalibration of stated confidences: the best bias for each of `TEMPERATURES`, and the best pair of those.

    A confidence is stated digit by digit; its expected value under the digits' probabilities is a better probability than the decoded
    number. The temperature rescales these probabilities, and the bias is added to the log-odds of the expected value, for all images alike.
    """
    signs = np.where(right, 1.0, -1.0)

    def odds_at(temperature: float) -> Floats:
        return np.array([log_odds(number.mean(temperature)) for number in numbers])

    def loss(bias: float, odds: Floats) -> float:
        return float(np.logaddexp(0, -signs * (odds + bias)).mean())

    found = {}
    for temperature in TEMPERATURES:
        best = minimize_scalar(loss, bounds=BIASES, args=(odds_at(temperature),), method="bounded")
        found[temperature] = float(best.fun), round(float(best.x), 3)
    temperature = min(found, key=found.__getitem__)
    least, bias = found[temperature]
    return RecalibrationFit(Recalibration(temperature, bias), len(numbers), loss(0.0, odds_at(1.0)), least)
