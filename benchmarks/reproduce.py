"""Tables 6 and 9 and Figure 6 of the paper on synthetic scenes, from random weights, with several seeds: which of its claims hold there?

    python benchmarks/reproduce.py [--scale 6000] [--seeds 3] [--jobs 2] [--out runs/reproduce-6000]

Stages 0 and 1 are trained once, with the settings of `configs/tiny`, and shared by all seeds (`--base runs/tiny` takes those of `make
tiny`): stage 0 takes the place of the public base checkpoint, and a scaffold trained on fewer scenes is too inaccurate for the later stages
to be informative. Each seed then has its own scenes, its cold starts, with equation 2's targets and with calibrated ones, and its stage 3
models: the four of Table 9, and ours. `--scale` is the number of scenes of stage 2; stage 3 gets a third of it, for one epoch, whatever the
variant. Seeds run in parallel, `--jobs` at a time, and share the cores; OUT/seed-K/log.txt is each one's log. An interrupted run resumes.
`--scale smoke` runs every step in about a minute, with meaningless results. Writes OUT/reproduction.md and OUT/figure6.png; the last line
of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import t as student

from emocaliber.core.prompts import EMOCALIBER
from emocaliber.core.samples import read_samples
from emocaliber.core.scoring import VERBALIZED, read_outcomes
from emocaliber.evaluation.calibration import BINS, bin_of
from emocaliber.io.rows import read_rows, write_atomically, write_rows
from emocaliber.render.table import NONE, Table, percent, with_interval
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.config import load_config
from emocaliber.training.run import run_stage
from emocaliber.training.sweep import respond_and_score

CONFIGS = Path(__file__).parents[1] / "configs" / "tiny"
BASE, SCAFFOLD, COLD, CALIBRATED = "Base Model", "Scaffold Model", "Cold-Start Model", "Calibrated Cold Start"


@dataclass(frozen=True)
class Variant:
    """A stage 3 model: the cold start that it is trained from, the reward, whether advantages are divided, and the credit."""

    start: str = COLD
    reward: str = "default"
    normalised: bool = False
    credit: str = "response"


TABLE_9 = {
    "EmoCaliber #1": Variant(reward="default confidence=brier", normalised=True),
    "EmoCaliber #2": Variant(reward="default confidence=brier"),
    "EmoCaliber #3": Variant(normalised=True),
    "EmoCaliber #4": Variant(),
}
OURS = {
    "#4, from the calibrated": Variant(CALIBRATED),
    "Decoupled": Variant(credit="decoupled"),
    "Decoupled, from the calibrated": Variant(CALIBRATED, credit="decoupled"),
}
VARIANTS = TABLE_9 | OURS
FINAL, FINAL_CALIBRATED, DECOUPLED, BOTH = "EmoCaliber #4", *OURS
# Stage 3 is one epoch, shorter than that of `configs/tiny`, with three times its learning rate.
SHORT: Mapping[str, Any] = {"max_steps": -1, "group_size": 4, "learning_rate": 3e-5}
TEST_SEED = 7
LITTLE = 0.02  # of accuracy: the loss that stage 2 may cause

# Enough to run every step, with models that learn nothing.
SMOKE = ("scenes_size=56", "batch_size=8", "max_steps=1", "threads=1", "max_new_tokens=12", "inference_batch=8", "group_size=4")
SMOKE_STAGE0 = ("width=64", "layers=1", "vision_width=64", "vision_layers=1", "image_side=56", "vocabulary=512", "sight_epochs=0.25")

Numbers = Mapping[str, Any]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """What the paper says, and the number of one seed's models that is above 0 if it is so."""

    text: str
    value: Callable[[Mapping[str, Numbers]], float]


CLAIMS = (
    Claim("Stage 1 lifts accuracy", lambda m: m[SCAFFOLD]["accuracy"] - m[BASE]["accuracy"]),
    Claim(
        f"Stage 2 costs less than {100 * LITTLE:.0f} points of accuracy", lambda m: m[COLD]["accuracy"] - m[SCAFFOLD]["accuracy"] + LITTLE
    ),
    Claim("Stage 2 states a confidence in 95 % of answers or more", lambda m: m[COLD]["coverage"] - 0.95),
    Claim("Stage 3 lowers the ECE", lambda m: m[COLD]["ece"] - m[FINAL]["ece"]),
    Claim("Stage 3 lowers the Brier score", lambda m: m[COLD]["brier"] - m[FINAL]["brier"]),
    Claim("Stage 3 lifts accuracy", lambda m: m[FINAL]["accuracy"] - m[COLD]["accuracy"]),
    Claim(
        "The Brier reward with normalisation (#1) is more overconfident than #4",
        lambda m: m["EmoCaliber #1"]["excess"] - m[FINAL]["excess"],
    ),
    Claim("The Brier reward (#2) is more overconfident than #4", lambda m: m["EmoCaliber #2"]["excess"] - m[FINAL]["excess"]),
    Claim("Normalisation (#3) is more overconfident than #4", lambda m: m["EmoCaliber #3"]["excess"] - m[FINAL]["excess"]),
)
# Ours: what calibrated targets do, what stage 3 adds to them, and what the decoupled credit adds to stage 3.
OWN_CLAIMS = (
    Claim("Calibrated targets have a lower ECE than stage 3", lambda m: m[FINAL]["ece"] - m[CALIBRATED]["ece"]),
    Claim("Calibrated targets have a lower Brier score than stage 3", lambda m: m[FINAL]["brier"] - m[CALIBRATED]["brier"]),
    Claim("Calibrated targets have a higher AUROC than stage 3", lambda m: m[CALIBRATED]["auroc"] - m[FINAL]["auroc"]),
    Claim("From equation 2, decoupled has a lower Brier score than #4", lambda m: m[FINAL]["brier"] - m[DECOUPLED]["brier"]),
    Claim("From equation 2, decoupled has a higher AUROC than #4", lambda m: m[DECOUPLED]["auroc"] - m[FINAL]["auroc"]),
    Claim("#4 lowers the Brier score of a calibrated stage 2", lambda m: m[CALIBRATED]["brier"] - m[FINAL_CALIBRATED]["brier"]),
    Claim("Decoupled credit lowers the Brier score of a calibrated stage 2", lambda m: m[CALIBRATED]["brier"] - m[BOTH]["brier"]),
    Claim("Decoupled credit lifts the accuracy of a calibrated stage 2", lambda m: m[BOTH]["accuracy"] - m[CALIBRATED]["accuracy"]),
    Claim("From the calibrated, decoupled has a lower Brier score than #4", lambda m: m[FINAL_CALIBRATED]["brier"] - m[BOTH]["brier"]),
    Claim("From the calibrated, decoupled has a higher AUROC than #4", lambda m: m[BOTH]["auroc"] - m[FINAL_CALIBRATED]["auroc"]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="6000", metavar="N|smoke", help="scenes of stage 2 (default: 6000, a few hours on two cores)")
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="how many seeds (default: 3)")
    parser.add_argument("--jobs", type=int, metavar="J", help="how many seeds at a time (default: as many as there are cores)")
    parser.add_argument("--test", type=int, default=2000, metavar="N", help="scenes that every model is asked about (default: 2000)")
    parser.add_argument("--base", type=Path, metavar="DIR", help="the folder with stage0 and stage1 (default: train them)")
    parser.add_argument("--out", type=Path, help="default: runs/reproduce-SCALE")
    args = parser.parse_args()
    args.out = args.out or Path(f"runs/reproduce-{args.scale}")
    smoke = args.scale == "smoke"
    if not smoke and (not args.scale.isdecimal() or int(args.scale) < 768):
        parser.error("--scale must be 'smoke' or a number of at least 768: stage 3 has a third of it, and asks 32 questions a step")
    scenes, test = (24, 16) if smoke else (int(args.scale), args.test)
    shared = prepare(args.out, args.base or args.out, test, smoke=smoke)
    jobs = args.jobs or os.cpu_count() or 1
    own = side_by_side(args.out, args.base or args.out, args.seeds, scenes, test, jobs, smoke=smoke)
    by_seed = [shared | numbers for numbers in own]
    verdicts = [judge(claim, by_seed) for claim in (*CLAIMS, *OWN_CLAIMS)]
    write_atomically(args.out / "reproduction.md", page(by_seed, verdicts, args.scale, test))
    figure6(by_seed).savefig(args.out / "figure6.png", dpi=150)
    print((args.out / "reproduction.md").read_text("utf-8"))
    claims = [{"claim": text, "verdict": verdict, "difference": mean, "ci": ends} for text, verdict, mean, ends in verdicts]
    print(json.dumps({"benchmark": "reproduce", "scale": args.scale, "seeds": args.seeds, "test": test, "claims": claims}))


def prepare(out: Path, base: Path, test: int, *, smoke: bool) -> dict[str, Numbers]:
    """What all seeds share: the test scenes, stages 0 and 1 in the folder `base`, trained if missing, and the numbers of those."""
    for _ in draw_samples(out / "test", test, TEST_SEED):
        pass
    models: dict[str, Path] = {}
    for name, stage in ((BASE, "stage0"), (SCAFFOLD, "stage1")):
        finished = base / stage / "model"
        if base == out or not finished.is_dir():
            count = 48 if smoke else load_config(stage, CONFIGS).scenes
            finished = train(stage, base / stage, count, models.get(BASE), smoke=smoke)
        models[name] = finished
    return {name: numbers_of(name, model, out, test, smoke=smoke) for name, model in models.items()}


def side_by_side(out: Path, base: Path, seeds: int, scenes: int, test: int, jobs: int, *, smoke: bool) -> list[dict[str, Numbers]]:
    """The numbers of every seed, `jobs` of them trained at a time."""
    jobs = min(jobs, seeds)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    trained = partial(train_seed, out=out, base=base, scenes=scenes, test=test, threads=threads, smoke=smoke)
    found = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for numbers in pool.map(trained, range(seeds)):
            found.append(numbers)
            print(f"{len(found)} of {seeds} seeds are done", file=sys.stderr, flush=True)
    return found


def train(name: str, folder: Path, count: int, model: Path | None = None, seed: int = 0, *, smoke: bool = False, **changes: Any) -> Path:
    """The model of one stage, trained on `count` scenes of its seed."""
    values = {"out": str(folder), "samples": str(folder.parent / "scenes" / name / "samples.jsonl"), "scenes": count, "seed": seed}
    values |= {"model": str(model)} if model else {}
    overrides = [f"{key}={json.dumps(value)}" for key, value in (values | changes).items()]
    if smoke:
        here = set(read_toml_names(name))
        overrides += [setting for setting in (*SMOKE, *SMOKE_STAGE0) if setting.partition("=")[0] in here]
    config = load_config(name, CONFIGS, [*overrides, f"scenes_seed={load_config(name, CONFIGS).scenes_seed + 100 * seed}"])
    if smoke and name == "stage2":
        answer_for_the_scaffold(folder, Path(config.samples), count, config.scenes_seed)
    return run_stage(name, config)


def train_seed(seed: int, *, out: Path, threads: int, **how: Any) -> dict[str, Numbers]:
    """The numbers of all models of one seed, by name. What is printed goes to the seed's log, and so does what goes wrong."""
    own = out / f"seed-{seed}"
    own.mkdir(parents=True, exist_ok=True)
    with (own / "log.txt").open("a") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    torch.set_num_threads(threads)
    try:
        return numbers_of_seed(seed, out, own, **how)
    except Exception as error:
        traceback.print_exc()
        raise RuntimeError(f"seed {seed} failed ({error}); {own / 'log.txt'} says how. What is finished is not done again.") from error


def numbers_of_seed(seed: int, out: Path, own: Path, *, base: Path, scenes: int, test: int, smoke: bool) -> dict[str, Numbers]:
    """Those of `train_seed`, from models trained in the folder `own`."""
    scaffold = base / "stage1" / "model"
    models = {COLD: train("stage2", own / "stage2", scenes, scaffold, seed, smoke=smoke)}
    ours = load_config("stage2", CONFIGS / "calibrated")
    changes = {name: getattr(ours, name) for name in ("targets", "target_width", "anchor", "temperature", "learning_rate", "batch_size")}
    models[CALIBRATED] = train("stage2", own / "calibrated", scenes, scaffold, seed, smoke=smoke, **changes, smoothing=0.0)
    for number, (name, variant) in enumerate(VARIANTS.items(), 1):
        changes = {"reward": variant.reward, "normalise_advantages": variant.normalised, "credit": variant.credit}
        folder = own / f"stage3-{number}"
        models[name] = train("stage3", folder, scenes // 3, models[variant.start], seed, smoke=smoke, **SHORT, **changes)
    return {name: numbers_of(name, model, out, test, smoke=smoke) for name, model in models.items()}


def read_toml_names(stage: str) -> list[str]:
    """The settings that a stage has."""
    return list(vars(load_config(stage, CONFIGS)))


def answer_for_the_scaffold(folder: Path, samples: Path, count: int, seed: int) -> None:
    """For the smoke run, whose scaffold says nothing that could be read: the template teacher's answers in its place."""
    for _ in draw_samples(samples.parent, count, seed, size=56, split="train"):
        pass
    rows = ({**row, "image": str(samples.parent.absolute() / row["image"])} for row in read_rows(samples))
    answers = ({**row, "confidence": {"verb": None, "ans": None, "avg": 0.8}} for row in rows)
    if not (folder / "scaffold.jsonl").is_file():
        write_rows(folder / "scaffold.jsonl", answers)


def numbers_of(name: str, model: Path, out: Path, test: int, *, smoke: bool) -> Numbers:
    """Of a model's answers to the test scenes, the accuracy; of their stated confidence coverage, ECE, Brier, AUROC (NaN where there are
    none), how far its mean is above the accuracy of the same answers, and its shares in ten bins."""
    samples, answers = list(read_samples(out / "test" / "samples.jsonl"))[:test], model.parent / "responses.jsonl"
    overall = respond_and_score(model, samples, answers, 128, 12 if smoke else 160, EMOCALIBER, name not in (BASE, SCAFFOLD))["overall"]
    stated = [(value, each.correct) for each in read_outcomes(answers) if (value := each.confidence[VERBALIZED]) is not None]
    confidence = overall["confidence"].get(VERBALIZED, {})
    found = {key: math.nan if confidence.get(key) is None else confidence[key] for key in ("ece", "brier", "auroc")}
    bins = bin_of([value for value, _ in stated]).tolist()
    return found | {
        "accuracy": overall["accuracy"],
        "coverage": len(stated) / overall["n"],
        "excess": fmean(value - right for value, right in stated) if stated else math.nan,
        "shares": [bins.count(place) / len(bins) if bins else math.nan for place in range(BINS)],
    }


def over_seeds(values: Sequence[float], least: float = -1.0) -> tuple[float | None, Interval | None]:
    """The mean and its 95 % interval by Student's t, within [least, 1]; None where a value is missing, or there is only one for all."""
    if not values or any(map(math.isnan, values)):
        return None, None
    mean = fmean(values)
    if len(set(values)) < 2:
        return mean, None
    half = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return mean, (max(mean - half, least), min(mean + half, 1.0))


def judge(claim: Claim, by_seed: Sequence[Mapping[str, Numbers]]) -> tuple[str, str, float | None, Interval | None]:
    """(claim, verdict, mean, interval): it held if the interval over seeds is above 0, and did not if it is below. What all seeds share is
    judged as it is."""
    mean, ends = over_seeds([claim.value(numbers) for numbers in by_seed])
    if mean is None:
        return claim.text, "not measured", mean, ends
    if ends is None:
        verdict = "one seed shows nothing" if len(by_seed) < 2 else "held" if mean > 0 else "did not hold"
        return claim.text, verdict, mean, ends
    return claim.text, "held" if ends[0] > 0 else "did not hold" if ends[1] < 0 else "undecided", mean, ends


def page(by_seed: Sequence[Mapping[str, Numbers]], verdicts: Sequence[tuple[Any, ...]], scale: str, test: int) -> str:
    """The Markdown page."""

    def table(names: Sequence[str], title: str) -> str:
        keys = {"accuracy": "Acc", "ece": "ECE", "brier": "Brier", "auroc": "AUROC", "coverage": "Coverage", "excess": "Confidence - Acc"}

        def cell(name: str, key: str) -> str:
            return with_interval(*over_seeds([numbers[name][key] for numbers in by_seed], least=-1.0 if key == "excess" else 0.0))

        rows = [[name, *(cell(name, key) for key in keys)] for name in names]
        return Table(["Model", *keys.values()], rows, title).as_markdown()

    note = (
        "The number is above 0 if the claim is true: a difference, or what is left to a bound. Held: its whole interval is. "
        "Without an interval: all seeds share those models."
    )
    rows = [
        [text, verdict, NONE if mean is None else percent(mean) if ends is None else with_interval(mean, ends)]
        for text, verdict, mean, ends in verdicts
    ]
    warning = ["This was a smoke run: its models are untrained, and its numbers are meaningless.", ""] if scale == "smoke" else []
    lines = [
        f"# The paper's claims on synthetic scenes ({len(by_seed)} seeds, scale {scale})",
        "",
        *warning,
        f"Written by `python benchmarks/reproduce.py --scale {scale} --seeds {len(by_seed)}`. {test:,} unseen scenes, greedy answers,",
        "stated confidence. Percentages with 95 % intervals over seeds (Student's t).",
        *([] if scale == "smoke" else [training_sizes(int(scale))]),
        "",
        table([BASE, SCAFFOLD, COLD, FINAL], "After Table 6"),
        "",
        table([COLD, *TABLE_9], "After Table 9: #1, #2 Brier reward, #3, #4 log-likelihood; #1, #3 normalised"),
        "",
        table([COLD, CALIBRATED, FINAL, *OURS], "Ours: calibrated targets in stage 2, decoupled credit in stage 3"),
        "",
        Table(["Claim", "Verdict", "By"], rows[: len(CLAIMS)], "The paper's claims", note, words=2).as_markdown(),
        "",
        Table(["Claim", "Verdict", "By"], rows[len(CLAIMS) :], "Ours", note, words=2).as_markdown(),
        "",
        "![Figure 6: stated confidence by configuration](figure6.png)",
    ]
    return "\n".join(lines) + "\n"


def training_sizes(scenes: int) -> str:
    """The training set sizes of the stages, beside those of `tiny`."""
    first, second, third = (f"{load_config(stage, CONFIGS).scenes:,}" for stage in ("stage1", "stage2", "stage3"))
    return (
        f"All seeds share stage 1, trained on {first} scenes. Stage 2 was trained on {scenes:,} and stage 3 on {scenes // 3:,} scenes of\n"
        f"each seed; those of the published `tiny` on {second} and {third}."
    )


def figure6(by_seed: Sequence[Mapping[str, Numbers]]) -> Figure:
    """The distribution of stated confidences for each configuration of Table 9, with 95 % intervals over seeds."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(TABLE_9)
    for place, (name, variant) in enumerate(TABLE_9.items()):
        shares = [over_seeds([numbers[name]["shares"][at] for numbers in by_seed], 0.0) for at in range(BINS)]
        heights = [mean or 0.0 for mean, _ in shares]
        errors = np.array([(0.0, 0.0) if ends is None else (mean - ends[0], ends[1] - mean) for mean, ends in shares]).T
        label = f"{name[-2:]} {'Brier' if 'brier' in variant.reward else 'log-likelihood'}{', normalised' if variant.normalised else ''}"
        axes.bar([at + (place - 1.5) * width for at in range(BINS)], heights, width, yerr=errors, capsize=2, label=label)
    axes.set_xticks(range(BINS), [f"{at / BINS:.1f} to {(at + 1) / BINS:.1f}" for at in range(BINS)], fontsize=7)
    axes.set_xlabel("stated confidence")
    axes.set_ylabel("share of answers")
    axes.set_ylim(0, 1)
    axes.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
