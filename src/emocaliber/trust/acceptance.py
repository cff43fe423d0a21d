"""Which predictions are accepted: by a least confidence, or by a certificate for as long as it holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from emocaliber.errors import UserError
from emocaliber.trust.certificate_file import Certificate, read_certificate, this_moment

GivenCertificate = Certificate | str | os.PathLike[str]


class Decision(NamedTuple):
    """Whether an answer is accepted (False: abstain; None: nothing decides), by which certificate, or why not by the one given."""

    accepted: bool | None
    certificate: str | None = None
    uncertified: str | None = None


@dataclass(frozen=True)
class Acceptance:
    """What decides: a least confidence, a certificate, or nothing."""

    min_confidence: float | None = None
    certificate: Certificate | None = None

    @classmethod
    def of(cls, min_confidence: float | None = None, certificate: GivenCertificate | None = None) -> Self:
        """The acceptance by one of the two. A certificate's file is read once, now.

        Raises UserError for both, for a least confidence outside [0, 1] and for a file that is no certificate; TypeError for a least
        confidence that is no number.
        """
        if min_confidence is not None and certificate is not None:
            raise UserError("a certificate and a least confidence both say which answers are accepted; give one of them")
        if min_confidence is not None:
            if not isinstance(min_confidence, int | float):
                raise TypeError(f"min_confidence must be a number from 0 to 1, not {min_confidence!r}")
            if not 0 <= min_confidence <= 1:
                raise UserError(f"the least confidence must lie between 0 and 1, not {min_confidence:g}")
        if certificate is not None and not isinstance(certificate, Certificate):
            certificate = read_certificate(certificate)
        return cls(min_confidence, certificate)

    @property
    def decides(self) -> bool:
        """Whether anything was given that decides."""
        return self.min_confidence is not None or self.certificate is not None

    def decide(
        self,
        confidence: float | None,
        task: str,
        labels: Sequence[str],
        *,
        source: str,
        model: str,
        weights: Callable[[], str | None] = lambda: None,
    ) -> Decision:
        """The decision about an answer to a question; one without a confidence is not accepted.

        `source` is where the confidence was read, `model` the name of the model, and `weights` gives the SHA-256 of its weights if that is
        known; it is asked only where the certificate has one to compare.
        """
        if self.certificate is None:
            return Decision(None if self.min_confidence is None else confidence is not None and confidence >= self.min_confidence)
        known = weights() if self.certificate.model.get("sha256") else None
        why = self.certificate.why_not(task, labels, source=source, model=model, weights=known, now=this_moment())
        asked = self.certificate.question(task, labels)
        if why is not None or asked is None or asked.what.threshold is None:
            return Decision(None, None, why)
        return Decision(confidence is not None and confidence >= asked.what.threshold, self.certificate.id)


ANY = Acceptance()  # nothing decides
