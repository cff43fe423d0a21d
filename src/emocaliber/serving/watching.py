"""The watch of a server: its own answers are compared with those that the certificate was made from, and an alarm voids the certificate.

Pictures are neither kept nor measured, and no labels come, so it tests the confidence, the answers and what could not be read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

from emocaliber.errors import UserError
from emocaliber.io.lock import Lock
from emocaliber.io.rows import display_name, opened, write_atomically
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Query
from emocaliber.trust.observation import mark_of, reference_from_certificate
from emocaliber.trust.watch import Watch
from emocaliber.trust.watch_files import live_certificate, void_certificate
from emocaliber.trust.watch_output import metrics_text

_SAVED_EVERY = 256  # rows


class ServerWatch:
    """An `Observer` that watches the answers to the certificate's questions. Use as a context manager: the state is saved at the end.

    `unwatched` counts the answers to other questions. Raises UserError for a certificate that does not hold now, unless the state has an
    alarm, for one without a reference, and for a state of another watch.
    """

    def __init__(self, certificate: Path, state: Path, alpha: float = 0.05) -> None:
        self._certificate, self._state, name = certificate, state, display_name(state)
        state.parent.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(state, name)
        self.unwatched = 0
        try:
            if state.exists():
                self.watch = Watch.from_dict(_kept(state), name)
                if self.watch.alarm is None and self.watch.reference.mark != mark_of(live_certificate(certificate)):
                    raise UserError(f"{name} is the state of a watch of another certificate; name another file as --watch")
            else:
                promised = live_certificate(certificate)
                self.watch = Watch.start(reference_from_certificate(promised, display_name(certificate)), alpha=alpha)
            self.save()
        except BaseException:
            self._lock.release()
            raise

    def answered(self, prediction: Prediction, query: Query, seconds: float) -> None:
        """Takes an answer. What the model was not asked is none: otherwise anybody could void the certificate with broken files."""
        if self.watch.alarm or (prediction.error and prediction.error.code != "malformed"):
            return
        try:
            alarm = self.watch.see(prediction.to_row())
        except UserError:  # another question, or another source of confidence
            self.unwatched += 1
            return
        if alarm or self.watch.rows % _SAVED_EVERY == 0:
            self.save()

    def batch(self, images: int, pixels: int, seconds: float) -> None:
        """Nothing is watched of batches."""

    def refused(self, reason: str, images: int) -> None:
        """Nothing is watched of refusals."""

    def save(self) -> None:
        """Writes the state, then voids the certificate if there is an alarm."""
        write_atomically(self._state, json.dumps({"serve": self.watch.to_dict()}) + "\n")
        if self.watch.alarm:
            void_certificate(self._certificate, self.watch.alarm)

    def metrics(self) -> str:
        """The gauges of the watch, as those of `emocaliber calibrate watch --metrics`."""
        return metrics_text(self.watch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()
        self._lock.release()


def _kept(state: Path) -> dict[str, object]:
    with opened(state) as file:
        try:
            found = json.load(file)["serve"]
            return dict(found)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{display_name(state)}: not the state of a server's watch; name another file as --watch") from error
