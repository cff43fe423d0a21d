"""A certificate for people: its table and its page."""

from __future__ import annotations

from pathlib import Path

from emocaliber.render.table import NONE, Table, percent
from emocaliber.trust.certificate_file import Certificate, Certified
from emocaliber.trust.pages import Drawn, write_page


def certificate_table(certificate: Certificate) -> Table:
    """What was certified: a line for each question, and one for all answers where there are several."""
    lines = [(each.task, each.what) for each in certificate.per_question]
    lines += [("all, in this mixture", certificate.pooled)] if len(lines) > 1 else []
    errors = sorted(certificate.pooled.coverage_at_error, key=float, reverse=True)
    return Table(
        header=("question", "answers", "threshold", "accepted %", "right %", *(f"at {100 * float(error):g} % error" for error in errors)),
        rows=[_line(name, what, errors) for name, what in lines],
        note=(
            f"Asked for: at least {100 * certificate.accuracy:g} % right; right % is of these answers. The last columns: the share in % "
            "that could be accepted at 10 % and at 5 % error, each certified by itself."
        ),
    )


def write_certificate_page(certificate: Certificate, folder: str | Path) -> Path:
    """Writes `certificate.png` and `index.html` to a folder; returns the page."""
    from emocaliber.render.figure import png
    from emocaliber.trust.certificate_figure import certificate_figure, how_to_read

    certified = any(each.what.certified for each in certificate.per_question)
    voided = certificate.voided
    return write_page(
        Path(folder),
        f"{'Certificate' if certified else 'No certificate'} {certificate.id}",
        about=(
            f"Model {certificate.model['name'] or 'not named'} · confidence {certificate.source} · made {certificate.created[:10]}, "
            f"expires {certificate.expires[:10]}"
        ),
        notice=f"Void since {voided['since']}: {voided['reason']}" if voided else "",
        lead=[f"{certificate.terms[:1].upper()}{certificate.terms[1:]}."],
        table=certificate_table(certificate),
        figure=Drawn("certificate.png", png(certificate_figure(certificate)), "Accuracy against coverage", how_to_read(certificate)),
        notes=certificate.notes,
    )


def _line(name: str, what: Certified, errors: list[str]) -> list[str]:
    threshold = NONE if what.threshold is None else f"{what.threshold:.4g}"
    accepted = percent(what.coverage) if what.certified else NONE
    others = (percent(what.coverage_at_error[error]) for error in errors)
    return [name, f"{what.n:,}", threshold, accepted, percent(what.accepted_accuracy), *others]
