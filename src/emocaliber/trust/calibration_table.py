"""The table of fitted calibrators: before and after, cross-validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emocaliber.render.table import Table, interval, percent

_NOTE = "In percent. After: each answer by a fit on other images. Intervals: in the file."
_TRUTHS = {"posterior": "from posteriors", "votes": "from votes, whose scatter is in the first number"}


def described(stored: Mapping[str, Any]) -> str:
    """A map in few words: "beta on verb", or "logistic, 3 sources"."""
    sources = stored["sources"]
    return f"{stored['method']} on {sources[0]}" if len(sources) == 1 else f"{stored['method']}, {len(sources)} sources"


def calibration_table(content: Mapping[str, Any]) -> Table:
    """One row for each question of a calibrator's content, with those that have none. 80 columns for the tasks of VECBench."""
    header = ["Question", "n", "Calibrator", "ECE", "after", "Brier", "after", "AUROC", "after"]
    rows: list[Sequence[str]] = []
    for each in content["questions"]:
        before, after = each["before"], each["after"]
        numbers = [percent(moment[name]) for name in ("ece", "brier", "auroc") for moment in (before, after)]
        rows.append([each["task"], f"{each['n']:,}", described(each["map"]), *numbers])
    for each in content["uncalibrated"]:
        rows.append([each["task"], f"{each['n']:,}", "none", *([""] * 6)])
    return Table(header, rows, words=1, note=_NOTE, fit=((8, 0), (7, 0), (2, 12), (0, 8)))


def calibrated_already(content: Mapping[str, Any]) -> list[str]:
    """A sentence for each question whose confidence, before, was no farther off than a perfectly calibrated one may be."""
    found = []
    for each in content["questions"]:
        before = each["before"]
        low, high = before["ece_null"] or (None, None)
        if before["ece"] is not None and high is not None and before["ece"] <= high:
            found.append(
                f"{each['task']}: {before['source']} was calibrated already, as far as {each['n']:,} answers can tell: a perfectly "
                f"calibrated one would show an ECE of {percent(low)} to {percent(high)}."
            )
    return found


def people_sentences(content: Mapping[str, Any]) -> list[str]:
    """What was fitted about people, a sentence for each question that has it."""
    return [
        f"{each['task']}: the share of people who would say so is {10 * found['distance']:.1f} of 10 off on average, and 80 % lie in "
        f"intervals that are {10 * found['width']:.1f} of 10 wide ({found['levelled']:,} answers kept aside, {_TRUTHS[found['truth']]})."
        for each in content["questions"]
        if (found := each.get("people"))
    ]


def provenance(entry: Mapping[str, Any]) -> str:
    """What a question's calibrator was fitted on and what it changed, in a sentence for model cards."""
    before, after, data = entry["before"], entry["after"], entry["answers"]
    return (
        f"{entry['task']}: {described(entry['map'])}, fitted on {entry['n']:,} answers ({entry['right']:,} right) on {entry['made']}, data "
        f"{data['sha256'][:12]}; ECE {percent(before['ece'])} % by {before['source']}, {percent(after['ece'])} % "
        f"{interval(after['ece_ci'])} after"
    )
