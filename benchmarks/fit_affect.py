"""Fits `emocaliber.emotions.affect` to people's ratings and votes, and shows the fit on pictures held out.

    EMOCALIBER_DATA=... OMP_NUM_THREADS=1 python benchmarks/fit_affect.py [--resamples 20] [--figure docs/affect.png] [--seed 0]

About five minutes. Prints the numbers for the module, then the tables of docs/affect.md; `affect_model.py` says how the fit is made and
`affect_data.py` from what. "Held out" is five-fold cross-validation over EEmo's pictures, everything fitted anew in each fold, and half of
Flickr-LDL's pictures and all of Twitter-LDL's. Intervals are 95 % bootstrap intervals over pictures. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from affect_data import SEVEN, Eemo, Floats, folder, read_eemo, read_oasis, read_words
from affect_model import as_text, fit_ratings, fit_votes, predicted_points, shares_by_polarity
from emocaliber.emotions.affect import PICTURES, AffectModel, label_distribution, most_named, positive_share
from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, polarity_by_family, taxonomy
from emocaliber.render.table import Table
from emocaliber.scenes.annotators import vote_entropy_nats
from fit_annotators import LABELS as EIGHT
from fit_annotators import read_votes

Ints = npt.NDArray[np.int64]
EMOTIONS = Taxonomy("EEmo", SEVEN)
MIKELS = taxonomy("mikels-8")
FOLDS = 5
CLASSIFIERS: Mapping[str, Callable[[], ClassifierMixin]] = {
    "logistic regression": lambda: LogisticRegression(C=10, max_iter=5000),
    "random forest": lambda: RandomForestClassifier(200, min_samples_leaf=15, random_state=0),
}


@dataclass(frozen=True)
class Held:
    """Held-out predictions for EEmo's pictures: the fold of each, and the model fitted on the other folds."""

    eemo: Eemo
    fold: Ints
    models: list[AffectModel]

    def shares(self, labels: Taxonomy, axes: int = 3) -> Floats:
        """The share of viewers for each label, (pictures, labels)."""
        result = np.empty((len(self.fold), len(labels.labels)))
        for k, model in enumerate(self.models):
            at = self.fold == k
            result[at] = label_distribution(self.eemo.vad[at, :axes], labels, self.eemo.sd[at, :axes], model)
        return result

    def sharpened(self, shares: Floats) -> Floats:
        """`most_named`, with the sharpness of each fold."""
        result = np.empty_like(shares)
        for k, model in enumerate(self.models):
            result[self.fold == k] = most_named(shares[self.fold == k], model)
        return result


def fit(eemo: Eemo, chosen: Ints, votes: Ints, words: Mapping[str, VAD]) -> AffectModel:
    """Both steps and the sharpness, of least Brier score for the emotion named first."""
    part = Eemo(*(getattr(eemo, name)[chosen] for name in ("vad", "sd", "points", "rest", "first")))
    model, _, _ = fit_votes(fit_ratings(part, np.arange(len(chosen)), words), part, votes, words)
    shares = label_distribution(part.vad, EMOTIONS, part.sd, model)
    best = minimize_scalar(lambda power: brier(most_named(shares, replace(model, sharpness=power)), part.first).mean(), bounds=(1, 8))
    return replace(model, sharpness=float(best.x))


def brier(p: Floats, truth: Ints) -> Floats:
    """The Brier score of each row, in [0, 2]."""
    return np.asarray(((p - np.eye(p.shape[1])[truth]) ** 2).sum(1))


def cross_validated(make: Callable[[], ClassifierMixin], x: Floats, truth: Ints, fold: Ints, classes: int) -> Floats:
    """Held-out probabilities of a classifier, (pictures, classes)."""
    result = np.zeros((len(x), classes))
    for k in range(FOLDS):
        fitted = make().fit(x[fold != k], truth[fold != k])
        at = np.flatnonzero(fold == k)
        result[np.ix_(at, fitted.classes_)] = fitted.predict_proba(x[at])
    return result


def interval(values: Floats, seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean over pictures."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (2000, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return float(low), float(high)


def against_classifiers(held: Held, seed: int) -> tuple[Table, dict[str, Any]]:
    """Which of seven emotions is named first: ours and classifiers trained for just that, on VAD and on valence and arousal."""
    truth, found, rows = held.eemo.first, {}, []
    for axes, name in ((3, "VAD"), (2, "valence, arousal")):
        shares = held.shares(EMOTIONS, axes)
        ours = {"P(label | VAD), shares": shares, "P(label | VAD), most named": held.sharpened(shares)}
        theirs = {each: cross_validated(make, held.eemo.vad[:, :axes], truth, held.fold, len(SEVEN)) for each, make in CLASSIFIERS.items()}
        for each, p in {**ours, **theirs}.items():
            found[f"{each}, {name}"] = p
            rows.append([each, name, f"{100 * (p.argmax(1) == truth).mean():.1f}", f"{brier(p, truth).mean():.3f}"])
    common = np.bincount(truth).argmax()
    rows.append(
        [
            "the commonest",
            "nothing",
            f"{100 * (truth == common).mean():.1f}",
            f"{brier(np.tile(np.bincount(truth) / len(truth), (len(truth), 1)), truth).mean():.3f}",
        ]
    )
    figures: dict[str, Any] = {}
    for name in ("VAD", "valence, arousal"):
        ours_p = found[f"P(label | VAD), most named, {name}"]
        best = max((found[f"{each}, {name}"] for each in CLASSIFIERS), key=lambda p: float((p.argmax(1) == truth).mean()))
        lost = (best.argmax(1) == truth).astype(float) - (ours_p.argmax(1) == truth)
        worse = brier(ours_p, truth) - brier(best, truth)
        figures[name] = {
            "top1": round(float((ours_p.argmax(1) == truth).mean()), 4),
            "top1_behind_best": round(float(lost.mean()), 4),
            "top1_behind_best_ci": [round(x, 4) for x in interval(lost, seed)],
            "brier": round(float(brier(ours_p, truth).mean()), 4),
            "brier_behind_best": round(float(worse.mean()), 4),
            "brier_behind_best_ci": [round(x, 4) for x in interval(worse, seed)],
        }
    return Table(["Held out", "From", "Top-1", "Brier"], rows, title="Emotion named first, of seven", words=2), figures


def counterpart(label: str, labels: Taxonomy) -> str | None:
    """EEmo's emotion that a label is a kind of; None for confusion, and for what is known by polarity alone."""
    family = label if label in SEVEN else labels.parents.get(label, label)
    family = "joy" if family in ("love", "joy", "positive") else family
    return family if family in SEVEN else None


def by_taxonomy(held: Held) -> tuple[Table, dict[str, Any]]:
    """The emotion named first, where the taxonomy has labels of its kind: the shares of labels of one kind are added."""
    rows, figures = [], {}
    for name in BUILT_IN:
        labels = taxonomy(name)
        if name == "polarity-2":
            kinds = ["joy", "negative"]
            target = np.array([kinds.index("joy" if e == "joy" else "negative") if e not in ("neutral", "surprise") else -1 for e in SEVEN])
            of = [0 if label == "positive" else 1 for label in labels.labels]
        else:
            merged = {e: ("anger" if e == "disgust" and name == "webemo-25" else e) for e in SEVEN}
            found = [
                "anger" if counterpart(each, labels) == "disgust" and name == "webemo-25" else counterpart(each, labels)
                for each in labels.labels
            ]
            kinds = sorted({each for each in found if each})
            target = np.array([kinds.index(merged[e]) if merged[e] in kinds else -1 for e in SEVEN])
            of = [kinds.index(each) if each else len(kinds) for each in found]
        truth = target[held.eemo.first]
        used = truth >= 0
        shares = held.shares(labels)
        grouped = np.stack([shares[:, [i for i, k in enumerate(of) if k == kind]].sum(1) for kind in range(max(of) + 1)], 1)
        p, truth = held.sharpened(grouped)[used], truth[used]
        best = cross_validated(CLASSIFIERS["logistic regression"], held.eemo.vad[used], truth, held.fold[used], len(kinds))
        numbers = {
            "pictures": len(truth),
            "kinds": len(kinds),
            "top1": round(float((p.argmax(1) == truth).mean()), 4),
            "top1_among_kinds": round(float((p[:, : len(kinds)].argmax(1) == truth).mean()), 4),  # without confusion
            "brier": round(float(brier(p, truth).mean()), 4),
            "top1_logistic": round(float((best.argmax(1) == truth).mean()), 4),
            "brier_logistic": round(float(brier(best, truth).mean()), 4),
            "top1_commonest": round(float(np.bincount(truth).max() / len(truth)), 4),
        }
        figures[name] = numbers
        percents = [f"{100 * numbers[key]:.1f}" for key in ("top1", "top1_among_kinds", "top1_logistic", "top1_commonest")]
        rows.append([name, ", ".join(kinds), f"{len(truth):,}", *percents, f"{numbers['brier']:.3f}", f"{numbers['brier_logistic']:.3f}"])
    head = ["Taxonomy", "Kinds", "Pictures", "Top-1", "of kinds", "logistic", "commonest", "Brier", "logistic"]
    return Table(head, rows, title="Every built-in taxonomy, against EEmo's first emotion", words=2), figures


def labels_of_ones_own(held: Held, words: Mapping[str, VAD], chosen: Ints) -> tuple[Table, dict[str, Any]]:
    """Each of seven labels as if nobody had been asked about it: its lexicon place, commonness 0; on the last fold."""
    test = held.fold == FOLDS - 1
    eemo, fitted = held.eemo, held.models[FOLDS - 1]
    known = label_distribution(eemo.vad[test], EMOTIONS, eemo.sd[test], fitted)
    rows, figures = [], {}
    for i, label in enumerate(SEVEN):
        model = replace(fit_ratings(eemo, chosen, words, unseen=label), sharpness=fitted.sharpness)
        shares = label_distribution(eemo.vad[test], Taxonomy("own", SEVEN, vad={label: words[label]}), eemo.sd[test], model)
        truth = eemo.first[test] == i
        numbers = {
            "named_first": round(float(truth.mean()), 4),
            "predicted": round(float(most_named(known, fitted)[:, i].mean()), 4),
            "predicted_unseen": round(float(most_named(shares, model)[:, i].mean()), 4),
            "auroc": round(float(roc_auc_score(truth, known[:, i])), 4),
            "auroc_unseen": round(float(roc_auc_score(truth, shares[:, i])), 4),
        }
        figures[label] = numbers
        rows.append(
            [label, *(f"{100 * numbers[key]:.1f}" for key in ("named_first", "predicted", "predicted_unseen", "auroc", "auroc_unseen"))]
        )
    head = ["Label", "Named first", "fitted", "lexicon only", "AUROC, fitted", "lexicon only"]
    return Table(head, rows, title="A label as if it were one's own"), figures


def against_votes(
    eemo: Eemo, model: AffectModel, collections: Mapping[str, Ints], words: Mapping[str, VAD]
) -> tuple[Table, dict[str, Any]]:
    """Mean label shares by the majority's polarity: people's, and the model's on EEmo's pictures weighted to have the votes' polarity."""
    rows, figures = [], {}
    for name, votes in collections.items():
        people = shares_by_polarity(votes)
        _, _, predicted = fit_votes(model, eemo, votes, words, labels_too=False)
        for i, polarity in enumerate(("positive", "negative")):
            for who, joint in (("people", people), ("model", predicted)):
                rows.append([name, polarity, who, *(f"{100 * x:.1f}" for x in joint[i] / joint[i].sum())])
        wrong = [float(np.abs(people[i] / people[i].sum() - predicted[i] / predicted[i].sum()).sum() / 2) for i in range(2)]
        figures[name] = {"positive_total_variation": round(wrong[0], 4), "negative_total_variation": round(wrong[1], 4)}
    return Table(["Votes", "Majority", "Who", *EIGHT], rows, title="Mean shares of the votes", words=3), figures


def entropies(
    eemo: Eemo, oasis: tuple[Floats, Floats], model: AffectModel, collections: Mapping[str, Ints], words: Mapping[str, VAD], seed: int
) -> tuple[Table, dict[str, Any], dict[str, Floats]]:
    """Entropy of people's votes, and of as many votes drawn from predicted shares (so that both have the same small-sample bias)."""
    rng, rows, figures, drawn = np.random.default_rng(seed), [], {}, {}
    for name, votes in collections.items():
        voters = int(votes[0].sum())
        _, weights, _ = fit_votes(model, eemo, votes, words, labels_too=False)
        picked = rng.choice(len(weights), 8000, p=weights)
        shares = {
            "EEmo, weighted as these votes": label_distribution(eemo.vad[picked], MIKELS, eemo.sd[picked], model),
            "OASIS, its viewers' SD": label_distribution(oasis[0], MIKELS, oasis[1], model),
            "OASIS, typical SD": label_distribution(oasis[0], MIKELS, None, model),
        }
        order = [MIKELS.labels.index(label) for label in EIGHT]
        found = {f"{name}: people": vote_entropy_nats(votes)}
        found |= {each: vote_entropy_nats(np.array([rng.multinomial(voters, row[order]) for row in p])) for each, p in shares.items()}
        drawn |= {f"{name}, {each}": values for each, values in found.items()}
        for each, values in found.items():
            rows.append([each, str(voters), f"{values.mean():.2f}", f"{values.std():.2f}"])
            figures[f"{name}, {each}"] = [round(float(values.mean()), 3), round(float(values.std()), 3)]
    return Table(["Pictures", "Votes", "Entropy", "SD"], rows, title="Entropy of votes, in nats"), figures, drawn


def points(held: Held, seed: int) -> dict[str, Any]:
    """Of the emotion that the held-out model finds likeliest: the share of the viewers' points it should get, and the share it got."""
    eemo = held.eemo
    expected = np.empty_like(eemo.points)
    for k, model in enumerate(held.models):
        expected[held.fold == k] = predicted_points(model, eemo.vad[held.fold == k], eemo.sd[held.fold == k])
    total = eemo.points.sum(1) + eemo.rest
    got = np.where(eemo.points > 0, eemo.points, eemo.rest[:, None] / 4) / total[:, None]
    at = (np.arange(len(got)), held.shares(EMOTIONS).argmax(1))
    return {
        "expected": round(float(expected[at].mean()), 4),
        "got": round(float(got[at].mean()), 4),
        "got_ci": [round(x, 4) for x in interval(got[at], seed)],
        "correlation": round(float(np.corrcoef(expected[at], got[at])[0, 1]), 4),
        "named_among_three": round(float((eemo.points[at] > 0).mean()), 4),
    }


def polarity(held: Held) -> dict[str, float]:
    """The share above the midpoint against the first emotion (joy, or one of four negative), and against the positive labels' share."""
    eemo, first = held.eemo, np.array(SEVEN)[held.eemo.first]
    decided = ~np.isin(first, ("neutral", "surprise"))
    share = positive_share(eemo.vad[:, 0], eemo.sd[:, 0])
    eight = held.shares(MIKELS)
    of_labels = eight[:, [i for i, label in enumerate(MIKELS.labels) if polarity_by_family(label, MIKELS) == "positive"]].sum(1)
    right = (share > 0.5) == (first == "joy")
    return {
        "decided": int(decided.sum()),
        "right": round(float(right[decided].mean()), 4),
        "neutral_first_mean_valence": round(float(eemo.vad[first == "neutral", 0].mean()), 4),
        "correlation_with_mikels_positive_share": round(float(np.corrcoef(share, of_labels)[0, 1]), 4),
        "mean_difference_from_mikels_positive_share": round(float(np.abs(share - of_labels).mean()), 4),
    }


def spreads(eemo: Eemo, votes: Ints, words: Mapping[str, VAD], resamples: int, seed: int) -> dict[str, Any]:
    """SDs over bootstrap resamples of the pictures of all fitted numbers."""
    rng, fitted = np.random.default_rng(seed), []
    for _ in range(resamples):
        fitted.append(fit(eemo, rng.integers(0, len(eemo.first), len(eemo.first)), votes[rng.integers(0, len(votes), len(votes))], words))
    sd = {
        name: np.std([getattr(each, name) for each in fitted], axis=0).round(3).tolist()
        for name in ("offset", "scale", "weight", "sharpness")
    }
    return sd | {"places": {label: np.std([each.places[label] for each in fitted], axis=0).round(3).tolist() for label in fitted[0].places}}


def main() -> int:
    parser = argparse.ArgumentParser(description="Fits P(label | VAD) to people's ratings and votes.")
    parser.add_argument("--resamples", type=int, default=20, help="bootstrap resamples, for the SDs of the fitted numbers")
    parser.add_argument("--figure", type=Path, help="where to write the figure (PNG)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = folder()
    eemo, oasis, words = (
        read_eemo(data / "eemo" / "ratings.csv"),
        read_oasis(data / "oasis" / "ratings.csv"),
        read_words(data / "vad_words.tsv"),
    )
    rng = np.random.default_rng(args.seed)
    flickr = rng.permutation(read_votes(data / "votes" / "flickr_ldl.txt"))
    train, rest = flickr[: len(flickr) // 2], flickr[len(flickr) // 2 :]
    collections = {"Flickr-LDL, held-out half": rest, "Twitter-LDL": read_votes(data / "votes" / "twitter_ldl.txt")}

    everything = fit(eemo, np.arange(len(eemo.first)), train, words)
    print(as_text(everything), flush=True)
    fold = rng.permutation(len(eemo.first)) % FOLDS
    held = Held(eemo, fold, [fit(eemo, np.flatnonzero(fold != k), train, words) for k in range(FOLDS)])
    tables = {
        "against_classifiers": against_classifiers(held, args.seed),
        "by_taxonomy": by_taxonomy(held),
        "ones_own": labels_of_ones_own(held, words, np.flatnonzero(fold != FOLDS - 1)),
        "votes": against_votes(eemo, everything, collections, words),
    }
    entropy_table, entropy_figures, drawn = entropies(eemo, oasis, everything, collections, words, args.seed)
    for table, _ in (*tables.values(), (entropy_table, {})):
        print(f"\n{table.as_markdown()}")
    if args.figure:
        from affect_figure import affect_figure

        named = held.sharpened(held.shares(EMOTIONS))
        args.figure.write_bytes(affect_figure(everything, named, eemo.first, drawn))
    result: dict[str, Any] = {name: figures for name, (_, figures) in tables.items()}
    result |= {
        "entropies": entropy_figures,
        "points": points(held, args.seed),
        "polarity": polarity(held),
        "shipped": as_text(everything) == as_text(PICTURES),
    }
    result["bootstrap_sd"] = spreads(eemo, train, words, args.resamples, args.seed) if args.resamples else None
    print()
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
