"""Each file in examples/answers, scored with at most one option, gives scikit-learn's numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, roc_auc_score

from emocaliber.__main__ import main

ANSWERS = Path(__file__).parents[2] / "examples" / "answers"
LABELS = ["amusement", "awe", "contentment", "fear", "sadness"]
Read = tuple[list[str], list[str | None], list[float] | None]  # truths, answers, confidences


def table(name: str, truth: str, answer: str, confidence: str | None = None) -> Read:
    read = pd.read_csv(ANSWERS / name, dtype={"id": str})
    return list(read[truth]), list(read[answer]), None if confidence is None else list(read[confidence])


def lines(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (ANSWERS / name).read_text().splitlines()]


def tagged(truths: list[str], texts: list[str], labels: list[str] = LABELS) -> Read:
    said = [re.findall(r"<answer>(.*)</answer>", text)[0] for text in texts]
    stated = [float(found[0]) for text in texts if (found := re.findall(r"<confidence>(.*)</confidence>", text))]
    return truths, [answer if answer in labels else None for answer in said], stated or None


def pandas_lines() -> Read:
    read = pd.read_json(ANSWERS / "pandas_lines.jsonl", lines=True)
    return list(read["y_true"]), list(read["y_pred"]), [int(text.rstrip("%")) / 100 for text in read["confidence"]]


def kaggle() -> Read:
    both = pd.read_csv(ANSWERS / "kaggle_submission.csv").merge(pd.read_csv(ANSWERS / "kaggle_truth.csv"), on="image_id")
    return list(both["emotion_y"]), list(both["emotion_x"]), None


def lmms_eval() -> Read:
    rows = lines("lmms_eval_samples.jsonl")
    return tagged([str(row["target"]) for row in rows], [row["filtered_resps"][0] for row in rows])  # type: ignore[index]


def inspect_log() -> Read:
    samples = json.loads((ANSWERS / "inspect_log.json").read_text())["samples"]
    return tagged([each["target"] for each in samples], [each["output"]["completion"] for each in samples])


def batch() -> Read:
    truths = pd.read_csv(ANSWERS / "openai_truth.csv").set_index("id")["truth"]
    read: list[tuple[str, str | None]] = []
    for row in lines("openai_batch.jsonl"):
        body = row["response"]["body"]  # type: ignore[index]
        text = body["choices"][0]["message"]["content"].lower() if "choices" in body else ""
        read.append((truths[row["custom_id"]], next((label for label in LABELS if label in text), None)))
    return [truth for truth, _ in read], [answer for _, answer in read], None


def texts(name: str) -> Callable[[], Read]:
    rows = lines(name)
    return lambda: tagged([str(row["ground_truth"]) for row in rows], [str(row["response"]) for row in rows])


def probabilities() -> Read:
    read = pd.read_parquet(ANSWERS / "probabilities.parquet")
    values = read[[f"p_{label}" for label in LABELS]].to_numpy()
    return list(read["truth"]), [LABELS[place] for place in values.argmax(axis=1)], list(values.max(axis=1))


def pipeline() -> Read:
    best = [max(each, key=lambda one: one["score"]) for each in json.loads((ANSWERS / "pipeline.json").read_text())]
    truths = list(pd.read_csv(ANSWERS / "pipeline_truth.csv")["label"])
    return truths, [each["label"] for each in best], [each["score"] for each in best]


FILES: dict[str, tuple[list[str], str, Callable[[], Read]]] = {
    "pandas.csv": ([], "confidence", lambda: table("pandas.csv", "label", "prediction", "prob")),
    "pandas_lines.jsonl": ([], "confidence", pandas_lines),
    "kaggle_submission.csv": (["--truth", "kaggle_truth.csv"], "", kaggle),
    "lmms_eval_samples.jsonl": ([], "verb", lmms_eval),
    "inspect_log.json": ([], "verb", inspect_log),
    "openai_batch.jsonl": (["--truth", "openai_truth.csv"], "", batch),
    "texts.jsonl": ([], "", texts("texts.jsonl")),
    "short.jsonl": ([], "verb", texts("short.jsonl")),
    "probabilities.parquet": ([], "confidence", probabilities),
    "pipeline.json": (["--truth", "pipeline_truth.csv"], "confidence", pipeline),
    "two_confidences.csv": ([], "stated", lambda: table("two_confidences.csv", "truth", "answer", "confidence_stated")),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_as_others_write_it_has_the_numbers_of_scikit_learn(tmp_path: Path, name: str) -> None:
    options, source, read = FILES[name]
    named = [str(ANSWERS / each) if (ANSWERS / each).is_file() else each for each in options]
    assert main(["score", str(ANSWERS / name), "--out", str(tmp_path), "--numbers-only", "--replicates", "200", *named]) == 0
    scored = json.loads((tmp_path / "metrics.json").read_text())
    truths, answers, confidences = read()
    said = ["(none)" if answer is None else answer for answer in answers]
    right = np.array([truth == answer for truth, answer in zip(truths, said, strict=True)])
    labels = sorted({*truths, *said} - {"(none)"})
    assert 0.3 < right.mean() < 0.9, "an example that tells nothing"
    assert scored["n"] == len(truths)
    assert scored["overall"]["malformed"]["count"] == said.count("(none)")
    assert scored["overall"]["accuracy"] == pytest.approx(accuracy_score(truths, said), abs=1e-12)
    assert scored["overall"]["f1_macro"] == pytest.approx(f1_score(truths, said, labels=labels, average="macro"), abs=1e-12)
    assert scored["settings"]["sources"][:1] == ([source] if source else [])
    if confidences is not None:
        stated = scored["overall"]["confidence"][source]
        assert stated["brier"] == pytest.approx(brier_score_loss(right, confidences), abs=1e-12)
        assert stated["auroc"] == pytest.approx(roc_auc_score(right, confidences), abs=1e-12)


def test_every_example_is_scored_here_and_named_in_the_docs() -> None:
    told = (ANSWERS.parents[1] / "docs" / "answers.md").read_text()
    for file in ANSWERS.iterdir():
        assert file.name in FILES or any(file.name in options for options, _, _ in FILES.values())
        assert file.name in told
        assert file.stat().st_size < 40_000
