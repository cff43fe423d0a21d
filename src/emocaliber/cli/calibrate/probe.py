"""`emocaliber calibrate probe`: changes pictures and questions where the right reaction of a confidence is known, and asks again."""

from __future__ import annotations

import argparse
import io
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.cli import INTERRUPTED, SOME_FAILED
from emocaliber.cli.arguments import (
    MODELS,
    add_image_limits,
    add_local_settings,
    image_limits,
    local_settings,
    natural,
    parse_settings,
    positive,
    split_settings,
)
from emocaliber.errors import UserError
from emocaliber.render.terminal import complain, say

if TYPE_CHECKING:
    from emocaliber.predict.predictor import Predictor
    from emocaliber.trust.probe_scores import ProbeResult
    from emocaliber.trust.probing import ProbePlan, Prober

_SAMPLES = (".jsonl", ".csv", ".parquet")


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "probe",
        help="what a trustworthy confidence must do, and whether a model's does it",
        description="Changes pictures and questions where the right reaction is known (a blank picture must lower the confidence, a mirror "
        "image must not move it), asks again, and counts. Exit code 3 means that some questions have no answer; a failed probe does not.",
    )
    parser.add_argument("model", metavar="MODEL", help=MODELS.replace(", or recorded:FILE", "").replace("openai:", "or openai:"))
    parser.add_argument(
        "samples",
        nargs="+",
        metavar="SAMPLES|KEY=VALUE",
        help="sample rows, a folder that `bench build` or `scenes` made, or pictures without labels: files, folders or globs; and settings "
        "of the model",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write probes.json, answers.jsonl and report.html; the same command resumes"
    )
    parser.add_argument("--n", type=positive, default=100, metavar="N", help="how many pictures to probe with (default: 100)")
    parser.add_argument("--probes", metavar="a,b", help="only these probes, such as blank,flip")
    parser.add_argument("--source", metavar="S", help="the confidence source (default: that of the model's card, or verb)")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--task", metavar="T", help="of pictures without labels: the task to ask about (default: EmoSet-8)")
    asked.add_argument("--labels", metavar="a,b,c", help="of pictures without labels: labels to choose from")
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="seed of all that is drawn (default: 0)")
    parser.add_argument("--retry-failed", action="store_true", help="with --out: ask again where the picture or the model failed")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--batch-size", type=positive, metavar="B", help="images per batch")
    add_local_settings(parser.add_argument_group("settings of local models"))
    add_image_limits(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        return _probe(args)
    except KeyboardInterrupt:
        complain(f"interrupted; {'the answers so far are kept; the same command resumes' if args.out else 'nothing was kept'}")
        return INTERRUPTED


def _probe(args: argparse.Namespace) -> int:
    from emocaliber.io.rows import write_atomically
    from emocaliber.predict.predictor import load
    from emocaliber.render.progress import Progress
    from emocaliber.render.terminal import explain, show
    from emocaliber.trust.probe_scores import all_probes_note, table_of
    from emocaliber.trust.probing import FEWEST, AnswersFile, Prober

    plan, settings = _plan(args)
    if args.model.startswith("recorded:"):
        raise UserError("a recording holds no answers about changed pictures; name the model itself")
    if args.retry_failed and not args.out:
        raise UserError("--retry-failed needs the answers of an earlier run; name its folder with --out DIR")
    if len(plan.samples) < FEWEST:
        few = f"{len(plan.samples)} picture{'s are' if len(plan.samples) != 1 else ' is'} too few"
        say(f"warning: {few} for intervals, so no probe is decided; give {FEWEST} or more")
    with ExitStack() as closing:
        file = None
        if args.out:
            file = AnswersFile(args.out / "answers.jsonl", args.model, settings, plan, retry_failed=args.retry_failed)
            closing.callback(file.close)
        with Progress(f"loading {args.model}"):
            journal = {"journal": args.out / "answers.journal"} if args.out and args.model.startswith("openai:") else {}
            predictor = load(args.model, confidence=args.source, **settings, **journal)
        if predictor.model.notice:
            say(predictor.model.notice)
        limits = image_limits(args)
        prober = Prober(predictor.model, plan, _source(predictor, plan), file.rows if file else None, limits=limits)
        with Progress("probing", "answers", prober.most) as bar:
            for row in prober.ask(bar.to):
                if file:
                    file.write(row)
        results = prober.results()
        whole = _as_dict(prober, results, args.model)
        if args.out:
            from emocaliber.trust.probe_page import write_probe_page

            write_atomically(args.out / "probes.json", json.dumps(whole, indent=2, allow_nan=False) + "\n")
            with Progress("writing the page"):
                page = write_probe_page(prober, results, args.out, model=args.model)
    if args.json:
        print(json.dumps(whole, indent=2, allow_nan=False))
    else:
        show(table_of(results))
        explain(f"\n{all_probes_note(results)} probes; confidence read by {prober.source}")
    if args.out:
        say(f"wrote {page}")
    failed = sum(row["error"] is not None for row in prober.rows.values())
    if failed:
        again = "--retry-failed asks again" if args.out else "with --out DIR, --retry-failed asks again"
        complain(f"{failed:,} question{'s' * (failed != 1)} without an answer, as the picture or the model failed; {again}")
    return SOME_FAILED if failed else 0


def _source(predictor: Predictor, plan: ProbePlan) -> str:
    """The source of the confidence that `predict` gives for the plan's questions; not a calibrated one if only some have a calibrator."""
    from emocaliber.core.calibrators import CALIBRATED
    from emocaliber.predict.predictor import CHANCE, Query

    sources = {predictor.source_for(Query(sample.task, sample.candidates)) for sample in plan.samples}
    if CHANCE in sources:
        name = predictor.model.name
        raise UserError(
            f"{name} was not taught all labels of these questions, so `predict` states the confidence of chance whatever the picture; "
            "give --source norm to probe what the model has"
        )
    return sources.pop() if len(sources) == 1 else min(sources - {CALIBRATED})


def _as_dict(prober: Prober, results: Sequence[ProbeResult], model: str) -> dict[str, Any]:
    plan = prober.plan
    settings = {"model": model, "source": prober.source, "seed": plan.seed, "labelled": plan.labelled, **plan.what}
    return {
        "n": len(plan.samples),
        "probes": {result.probe.name: result.as_dict() for result in results},
        "settings": {name: value for name, value in settings.items() if name != "pictures"},
    }


def _plan(args: argparse.Namespace) -> tuple[ProbePlan, dict[str, Any]]:
    """The plan, and the settings of the model."""
    from emocaliber.inference.plan import model_settings
    from emocaliber.io.inputs import find_images
    from emocaliber.io.rows import display_name
    from emocaliber.trust.probing import plan_of_pictures, plan_of_samples

    named, settings = split_settings(args.samples)
    if not named:
        raise UserError("no samples are named; give a file or folder of samples, or pictures")
    flags = local_settings(args) | ({"batch_size": args.batch_size} if args.batch_size else {})
    of_model = model_settings(flags | parse_settings(settings))
    how = {"n": args.n, "names": args.probes, "seed": args.seed}
    if all(_holds_samples(Path(place)) for place in named):
        if args.task or args.labels:
            raise UserError("samples have questions of their own; leave --task and --labels out, which are for pictures without labels")
        return plan_of_samples([Path(place) for place in named], **how), of_model
    for name in named:
        if not os.path.lexists(name) and not any(sign in name for sign in "*?["):
            raise UserError(f"{display_name(name)}: there is no such file or folder; check the name")
    pictures = [each for each in find_images(named, io.BytesIO(), image_limits(args)) if isinstance(each, str)]
    labels = None
    if args.labels:
        from emocaliber.predict.predictor import Query

        labels = Query.of(labels=args.labels).candidates
    return plan_of_pictures(pictures, task=args.task or "EmoSet-8", labels=labels, **how), of_model


def _holds_samples(place: Path) -> bool:
    return place.suffix.lower() in _SAMPLES or any((place / name).is_file() for name in ("test.jsonl", "samples.jsonl"))
