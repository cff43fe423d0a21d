"""Seconds to score and compare with intervals on one core, against loops over resampled indices with scikit-learn and torchmetrics.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/evaluation_speed.py [--n 8035] [--many 1000000] [--replicates 1000]

    python benchmarks/evaluation_speed.py --rows 1000000 [--against OTHER/src ...] [--repeats 3]

The first: all that `emocaliber score --numbers-only` does on n released rows of the nine tasks, in this process; then every confidence
metric of `many` answers; then `compare`, at 400, 50,001 and `many` samples, of a system with itself under other names of the images, and
with one that differs on 1 % of the samples. The peers resample indices and compute Brier and AUROC (scikit-learn) and ECE (torchmetrics)
alone, for as many replicates as fit in ten seconds; their time is scaled up to all replicates.

The second: `emocaliber score --numbers-only` as a command of its own, on files of so many rows, as `respond` writes them (eight sources of
confidence) and as released (one); seconds, processor seconds, and the most memory that its processes took together (proportional set size,
looked at once a second). Other checkouts are run in turn with this one, and must write the same bytes.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from emocaliber.__main__ import main as emocaliber
from emocaliber.core.response import render
from emocaliber.core.scoring import Outcome
from emocaliber.core.sources import SOURCES
from emocaliber.core.tasks import TASKS, paper_counts
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.evaluation.compare import compare
from emocaliber.evaluation.folder import METRICS
from emocaliber.evaluation.stated import confidence_metrics
from emocaliber.io.rows import write_rows
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS
from emocaliber.scenes.template_teacher import write_response

SOURCE = Path(__file__).parents[1] / "src"
STEPS = "".join(f"<{step}>some words about the {step} of this picture</{step}>" for step in ("element", "human", "context", "interaction"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=8035)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--against", type=Path, nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.rows:
        print(
            json.dumps({"benchmark": "evaluation_speed", "rows": args.rows, "score": list(commands(args.rows, args.against, args.repeats))})
        )
        return
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        rows = released_rows(args.n, random)
        file = Path(folder) / "responses.jsonl"
        write_rows(file, rows)
        score = ["score", str(file), "--out", folder, "--numbers-only", "--replicates", str(args.replicates)]
        seconds_score = best(lambda: silently(lambda: emocaliber(score)))
    confidences, correct = answers(args.n, random)
    many_confidences, many_correct = answers(args.many, random)
    seconds_few = best(lambda: confidence_metrics(confidences, correct, replicates=args.replicates))
    seconds_many = best(lambda: confidence_metrics(many_confidences, many_correct, replicates=args.replicates))
    compared = [comparison(n, args.replicates) for n in (400, 50_001, args.many)]
    peers = {name: index_loop(peer, confidences, correct, args.replicates) for name, peer in PEERS.items() if peer is not None}
    print(
        f"score of {args.n:,} rows, {args.replicates:,} replicates of every metric in every task, group and overall: {seconds_score:.2f} s"
    )
    print(f"every confidence metric of {args.n:,} answers: {seconds_few:.3f} s; of {args.many:,}: {seconds_many:.2f} s")
    for name, seconds in peers.items():
        print(f"{name}: {seconds:.1f} s for {args.n:,}, {seconds / seconds_few:.0f} times ours (and ours holds 18 metrics)")
    print(
        json.dumps(
            {
                "benchmark": "evaluation_speed",
                "rows": args.n,
                "replicates": args.replicates,
                "seconds": {
                    "score": round(seconds_score, 2),
                    "metrics": round(seconds_few, 3),
                    f"metrics_{args.many}": round(seconds_many, 2),
                },
                "compare": compared,
                "peers_seconds": {name: round(seconds, 1) for name, seconds in peers.items()},
                "ratio": {name: round(seconds / seconds_few) for name, seconds in peers.items()},
            }
        )
    )


def commands(n: int, against: Sequence[Path], repeats: int) -> Iterator[dict[str, object]]:
    """What the command takes for n rows of both forms, with this checkout and with others."""
    for form, rows in (("respond", answered_rows), ("released", released_rows)):
        with tempfile.TemporaryDirectory() as folder:
            file, taken = Path(folder) / "responses.jsonl", defaultdict[str, list[dict[str, float]]](list)
            write_rows(file, rows(n, np.random.default_rng(0)))
            written = set()
            for _ in range(repeats):
                for source in (SOURCE, *against):
                    out = Path(folder) / "out"
                    taken[str(source)].append(measured(["score", str(file), "--out", str(out), "--numbers-only"], source))
                    written.add(tuple((out / name).read_bytes() for name in ("outcomes.jsonl", METRICS, "tables.md")))
                    shutil.rmtree(out)
                    print(form, source, taken[str(source)][-1], flush=True)
            yield {"form": form, "same": len(written) == 1, "taken": taken, "file_gb": round(file.stat().st_size / 1e9, 2)}


def measured(arguments: list[str], source: Path) -> dict[str, float]:
    """Seconds, processor seconds and the most memory of a command and the processes that it starts."""
    import psutil

    start, looked, peak = time.perf_counter(), 0.0, 0
    command = psutil.Popen([sys.executable, "-m", "emocaliber", *arguments], env={**os.environ, "PYTHONPATH": str(source)}, stdout=-3)
    while True:
        if time.perf_counter() > looked + 1:  # each look takes processor time of its own
            with contextlib.suppress(psutil.Error):
                peak = max(peak, sum(each.memory_full_info().pss for each in (command, *command.children(recursive=True))))
            looked = time.perf_counter()
        ended, status, used = os.wait4(command.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(0.1)
    if status:
        raise SystemExit(f"{arguments} with {source} ended with {status}")
    seconds, processor = time.perf_counter() - start, used.ru_utime + used.ru_stime
    return {"seconds": round(seconds, 1), "processor_seconds": round(processor, 1), "peak_memory_gb": round(peak / 1e9, 2)}


def released_rows(n: int, random: np.random.Generator) -> list[dict[str, object]]:
    """n rows in the released format, spread over the tasks as in VECBench."""
    tasks = [task for task, size in paper_counts()["test"].items() for _ in range(size)]
    rows: list[dict[str, object]] = []
    for number in range(n):
        task = tasks[number % len(tasks)]
        labels = taxonomy(TASKS[task].taxonomy).labels
        truth, confidence = labels[random.integers(len(labels))], round(float(random.beta(3, 2)), 2)
        answer = truth if random.random() < confidence - 0.1 else labels[random.integers(len(labels))]
        text = f"<think>{STEPS}<analysis>all this evokes {answer}</analysis></think><answer>{answer}</answer>"
        stated = f"<confidence>{confidence:.2f}</confidence>"
        row = {"task": task, "ground_truth": truth, "candidates": list(labels), "response": text + stated, "confidence": confidence}
        rows.append({"conversations": [{"role": "user", "content": [{"type": "image", "image": f"images/{number}.jpg"}]}], **row})
    return rows


def answered_rows(n: int, random: np.random.Generator) -> Iterator[dict[str, object]]:
    """n rows as `respond` writes them: the nine tasks, five steps of the template teacher, eight sources of confidence, votes for one row
    in four; 4 % of the answers are malformed in one of six ways or failed, and two rows in a hundred share an image."""
    elements, humans, contexts = (list(each) for each in (ELEMENTS, HUMANS, CONTEXTS))
    texts = [
        render(write_response(*(str(random.choice(each)) for each in (elements, humans, contexts, list(INTERACTIONS))), "LABEL", random))
        for _ in range(2000)
    ]
    tasks = [task for task, size in paper_counts()["test"].items() for _ in range(size)]
    random.shuffle(tasks)
    for number in range(n):
        task = tasks[number % len(tasks)]
        labels = taxonomy(TASKS[task].taxonomy).labels
        truth, right = labels[random.integers(len(labels))], float(random.beta(3, 2))
        answer = truth if random.random() < right - 0.1 else labels[random.integers(len(labels))]
        stated = dict(zip(SOURCES, np.clip(right + random.normal(0, 0.1, len(SOURCES)), 0, 1).tolist(), strict=True))
        stated["verb"] = round(stated["verb"], 2)
        text = f"{texts[random.integers(len(texts))].replace('LABEL', answer)}<confidence>{stated['verb']:.2f}</confidence>"
        row: dict[str, object] = {"id": f"sample-{number:07}", "image": f"images/{number - (number % 100 == 1)}.jpg", "task": task}
        row |= {"candidates": list(labels), "ground_truth": truth, "source": task.rpartition("-")[0].casefold(), "split": "test"}
        if number % 4 == 0:
            row["votes"] = dict(zip(labels, random.multinomial(11, np.full(len(labels), 1 / len(labels))).tolist(), strict=True))
        error = None
        if random.random() < 0.04:
            kind = int(random.integers(len(SPOILT) + 1))
            text, error = (SPOILT[kind](text), None) if kind < len(SPOILT) else (None, {"code": "timeout", "message": "no answer in 60 s"})
            stated = dict.fromkeys(SOURCES)
        seconds, calibrated = round(float(random.uniform(0.2, 1)), 4), None if stated["verb"] is None else round(right, 6)
        row |= {"model": "tiny", "prompt": "emocaliber", "response": text, "confidence": stated, "error": error, "seconds": seconds}
        usage = {"prompt_tokens": 64, "completion_tokens": 100, "cost": None}
        yield row | {"calibrated": calibrated, "uncalibrated": None if calibrated else "no answer to calibrate", "usage": usage}


SPOILT: tuple[Callable[[str], str], ...] = (
    lambda text: text[: len(text) // 2],
    lambda text: text.replace("<answer>", "<answer>none of them: ", 1).replace("</answer>", " of blue</answer>", 1),
    lambda text: text.replace("<human>", "", 1),
    lambda text: text.replace("</confidence>", " percent</confidence>"),
    lambda text: text.rpartition("<answer>")[0],
    lambda text: f"Here it is: {text}",
)


def answers(n: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two-decimal confidences, somewhat too high, and whether each answer was right."""
    confidences = np.round(random.beta(3, 2, n), 2)
    return confidences, random.random(n) < np.clip(confidences - 0.1, 0, 1)


def comparison(n: int, replicates: int) -> dict[str, object]:
    """A system against itself and against one that differs, and how long that takes."""
    random = np.random.default_rng(1)
    labels = taxonomy(TASKS["FI-8"].taxonomy).labels
    confidences, correct = answers(n, random)
    first = [
        Outcome(f"{at:07}", "FI-8", labels[0], labels[0 if hit else 1], hit, None, None, {"verb": c}, image=f"images/{at}.jpg")
        for at, (c, hit) in enumerate(zip(confidences.tolist(), correct.tolist(), strict=True))
    ]
    start = time.perf_counter()
    itself = compare(first, (replace(each, image=f"/data/{n - int(each.id)}.jpg") for each in first), replicates=replicates)
    middle = time.perf_counter()
    flipped = random.random(n) < np.where(correct, 0.01, 0.005)
    second = (
        replace(each, answer=labels[each.correct], correct=not each.correct) if flip else each
        for flip, each in zip(flipped, first, strict=True)
    )
    other = compare(first, second, replicates=replicates)
    accuracy = next(each for each in other if each.metric == "accuracy")
    found: dict[str, object] = {
        "n": n,
        "itself_is_0": all(each.difference in (0, None) and each.interval in ((0, 0), None) for each in itself),
        "difference": accuracy.difference,
        "interval": accuracy.interval,
        "p": accuracy.p,
        "seconds_itself": round(middle - start, 2),
        "seconds_other": round(time.perf_counter() - middle, 2),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    print("compare: " + ", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
    return found


def index_loop(peer: Callable[[np.ndarray, np.ndarray], object], confidences: np.ndarray, correct: np.ndarray, replicates: int) -> float:
    """Seconds for all replicates, extrapolated from those of ten seconds."""
    random = np.random.default_rng(0)
    peer(confidences, correct)
    start, done = time.perf_counter(), 0
    while done < replicates and time.perf_counter() - start < 10:
        index = random.integers(0, confidences.size, confidences.size)
        peer(confidences[index], correct[index])
        done += 1
    return (time.perf_counter() - start) * replicates / done


def scikit_learn(confidences: np.ndarray, correct: np.ndarray) -> object:
    from sklearn.metrics import brier_score_loss, roc_auc_score

    return brier_score_loss(correct, confidences), roc_auc_score(correct, confidences)


def torchmetrics() -> Callable[[np.ndarray, np.ndarray], object] | None:
    """torchmetrics' binary ECE, if installed (not a dependency)."""
    try:
        import torch
        from torchmetrics.functional.classification import binary_calibration_error
    except ImportError:
        print("torchmetrics is not installed, so it is left out: pip install torchmetrics")
        return None
    torch.set_num_threads(1)
    return lambda confidences, correct: binary_calibration_error(torch.from_numpy(confidences), torch.from_numpy(correct).int(), n_bins=10)


PEERS = {"scikit-learn (Brier, AUROC)": scikit_learn, "torchmetrics (ECE)": torchmetrics()}


def best(work: Callable[[], object], times: int = 3) -> float:
    """The shortest of some runs, in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def silently(work: Callable[[], object]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        work()


if __name__ == "__main__":
    main()
