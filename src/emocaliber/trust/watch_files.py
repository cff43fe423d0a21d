"""The files of a watch: the rows it follows, the labels, its state, and the certificate that an alarm voids."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from emocaliber.errors import UserError
from emocaliber.evaluation.answers.cells import label_text
from emocaliber.evaluation.answers.truths import Truths
from emocaliber.io.lock import Lock
from emocaliber.io.row_formats import BINARY, DELIMITED
from emocaliber.io.rows import Row, display_name, opened, row_of_line, write_atomically
from emocaliber.trust.certificate_file import Certificate, read_certificate, this_moment, voided
from emocaliber.trust.observation import Reference, mark_of, reference_from_certificate, reference_from_file
from emocaliber.trust.watch import Alarm, Promise, Watch

_AT_ONCE = 256  # rows between two states on disk
_KNOWN = 1024  # bytes at the beginning and before the offset by which a followed file is known again


def live_certificate(file: Path) -> Certificate:
    """The certificate in a file. Raises UserError, naming it, for one that is void, expired, certifies nothing, or is none."""
    name, certificate = display_name(file), read_certificate(file)
    if void := certificate.voided:
        raise UserError(f"{name} is void since {void.get('since')} ({void.get('reason')}); certify again, on answers of today.")
    if this_moment() >= datetime.fromisoformat(certificate.expires):
        raise UserError(f"{name} expired on {certificate.expires[:10]}; certify again, on answers of today.")
    if all(threshold is None for threshold in promise_of(certificate).thresholds.values()):
        raise UserError(f"{name} certifies no threshold, so there is no promise to watch; leave it out, and give --reference FILE.")
    return certificate


def promise_of(certificate: Certificate) -> Promise:
    """What a certificate promises, with the thresholds of its questions."""
    return Promise(certificate.accuracy, {each.task: each.what.threshold for each in certificate.per_question})


def void_certificate(file: Path, alarm: Alarm, rows: Path | None = None) -> None:
    """Writes into a certificate that it is void, atomically; one that is void already stays as it is."""
    certificate = read_certificate(file)
    if not certificate.voided:
        of = f" of {display_name(rows)}" if rows else ""
        voided(certificate, f"{alarm.counted} {alarm.since}{of}", alarm.sentence, alarm.at).save(file)


@dataclass
class Followed:
    """A JSON Lines file that grows: `offset` is where the next row begins, `line` the number of lines before it.

    `mark` tells whether the bytes before `marked_at`, an earlier offset, are still those that were read.
    """

    path: Path
    offset: int = 0
    line: int = 0
    mark: str = ""
    marked_at: int = 0

    def new_rows(self, most: int) -> Iterator[tuple[str, Row]]:
        """Up to `most` rows that were added, each after its place; a line that is still being written is left for later.

        Raises UserError for a file that cannot be read, shrank or was replaced, and for a line that is no row.
        """
        name = display_name(self.path)
        with opened(self.path) as file:
            self._check(file, name)
            file.seek(self.offset)
            for line in file:
                try:
                    row = row_of_line(line, self.path, self.line + 1)
                except UserError:
                    if not line.endswith(b"\n"):
                        return
                    raise
                number = self.line + 1
                self.offset += len(line)
                self.line += line.endswith(b"\n")
                if row is not None:
                    yield f"{name}, line {number}", row
                    most -= 1
                if most == 0:
                    return

    def marked(self) -> dict[str, Any]:
        """The position as JSON, with the mark of what was read up to there."""
        with opened(self.path) as file:
            self._check(file, display_name(self.path))
            self.marked_at = self.offset
            self.mark = self._mark(file)
        return {"path": str(self.path.absolute()), "offset": self.offset, "line": self.line, "mark": self.mark}

    def _check(self, file: IO[bytes], name: str) -> None:
        if (size := os.fstat(file.fileno()).st_size) < self.offset:
            raise UserError(
                f"{name}: the file shrank to {size:,} bytes, of which {self.offset:,} were read; a watch follows a file that only grows. "
                "Start another watch, with another --state."
            )
        if self.mark and self._mark(file) != self.mark:
            raise UserError(
                f"{name}: its first {self.marked_at:,} bytes are not those that were read: the file was replaced. "
                "Start another watch, with another --state."
            )

    def _mark(self, file: IO[bytes]) -> str:
        file.seek(0)
        head = file.read(min(_KNOWN, self.marked_at))
        file.seek(max(self.marked_at - _KNOWN, 0))
        return hashlib.sha256(head + file.read(min(_KNOWN, self.marked_at))).hexdigest()[:16]


@dataclass
class WatchedFiles:
    """A watch with the files that it follows. Use as a context manager: the state is locked until the end."""

    watch: Watch
    rows: Followed
    state: Path
    certificate: Path | None = None
    labels: Path | None = None
    labels_read: int = 0
    after_saving: Callable[[Watch], None] | None = None
    _lock: Lock | None = field(default=None, repr=False)

    @classmethod
    def open(
        cls,
        rows: Path,
        state: Path,
        *,
        reference: Path | None = None,
        certificate: Path | None = None,
        labels: Path | None = None,
        pictures: bool = False,
        **how: Any,
    ) -> WatchedFiles:
        """The watch that a state holds, or else a new one; `how` goes on to `Watch.start`.

        Raises UserError for a state of another watch, a certificate that is void without an alarm in the state, and where there is no
        reference.
        """
        if rows.suffix.lower() in (*BINARY, *DELIMITED, ".json"):
            raise UserError(f"{display_name(rows)}: a watch follows JSON Lines, to which rows can be added; write them as .jsonl.")
        if not rows.exists():
            raise UserError(f"{display_name(rows)}: there is no such file; start the watch once it is there, even empty.")
        state.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(state, display_name(state))
        try:
            kept = _read_state(state)
            raised = bool(kept and kept["watch"].get("alarm"))
            promised = (read_certificate if raised else live_certificate)(certificate) if certificate else None
            promise = promise_of(promised) if promised else None
            given = reference or promised
            if given is None:
                raise UserError(
                    "there is nothing to compare with: give --certificate FILE, or --reference FILE with the answers of calibration"
                )
            if kept is None:
                if isinstance(given, Certificate):
                    known = reference_from_certificate(given, display_name(certificate or ""))
                else:
                    known = reference_from_file(given, pictures=pictures)
                return cls(Watch.start(known, promise, **how), Followed(rows), state, certificate, labels, _lock=lock)
            watch, place = Watch.from_dict(kept["watch"], display_name(state)), kept["rows"]
            asked = Watch(_stand_in(mark_of(given)), promise, how["alpha"], how["seed"]).settings()
            _check_same(watch.settings(), asked, how.get("only") or (), state)
            if str(rows.absolute()) != place["path"]:
                raise UserError(f"{display_name(state)} follows {place['path']}, not {display_name(rows)}; name another file as --state.")
            followed = Followed(rows, place["offset"], place["line"], place["mark"], place["offset"])
            return cls(watch, followed, state, certificate, labels, kept["labels_read"], _lock=lock)
        except BaseException:
            lock.release()
            raise

    def run(self, *, follow: bool = False, every: float = 1.0, progress: Callable[[int], None] | None = None) -> Alarm | None:
        """Reads what is there, and with `follow` what comes, until an alarm; returns the alarm. The state is saved every few rows.

        A killed watch reads again the rows since the last state, and comes to the same numbers.
        """
        self.save()
        while not self.watch.alarm:
            before = (self.watch.rows, self.labels_read)
            for where, row in self.rows.new_rows(_AT_ONCE):
                if self.watch.see(row, where, self.rows.path.parent):
                    break
            else:
                self._read_labels()
            if (self.watch.rows, self.labels_read) != before:
                self.save()
                if progress:
                    progress(self.watch.rows)
            elif not follow:
                break
            else:
                time.sleep(every)
        return self.watch.alarm

    def save(self) -> None:
        """Writes the state, then voids the certificate if there is an alarm: in this order, so that a kill in between can be made good."""
        kept = {"watch": self.watch.to_dict(), "rows": self.rows.marked(), "labels_read": self.labels_read}
        write_atomically(self.state, json.dumps(kept) + "\n")
        if self.watch.alarm and self.certificate:
            void_certificate(self.certificate, self.watch.alarm, self.labels if self.watch.alarm.counted == "label" else self.rows.path)
        if self.after_saving:
            self.after_saving(self.watch)

    def _read_labels(self) -> None:
        """Takes the labels that were added, once the last line is whole."""
        if not self.labels or not self.labels.exists() or not _is_whole(self.labels):
            return
        truths = Truths.read(self.labels, by_image=True)
        if len(truths.by_id) < self.labels_read:
            raise UserError(
                f"{truths.name}: {self.labels_read:,} labels were read, but {len(truths.by_id):,} are there; labels are only added."
            )
        for id, (place, row) in list(truths.by_id.items())[self.labels_read :]:
            label = label_text(row.get(truths.columns.truth or ""))
            if label is None:
                raise UserError(f"{place}: there is no label for '{id}'; leave the row out until there is one.")
            self.labels_read += 1
            if self.watch.label(id, label):
                return

    def __enter__(self) -> WatchedFiles:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.release()


def _is_whole(file: Path) -> bool:
    """Whether a file has lines, the last of which has its end."""
    with opened(file) as content:
        size = content.seek(0, os.SEEK_END)
        content.seek(max(size - 1, 0))
        return size > 0 and (file.suffix.lower() not in (*DELIMITED, ".jsonl") or content.read(1) == b"\n")


def _read_state(state: Path) -> dict[str, Any] | None:
    if not state.exists():
        return None
    with opened(state) as file:
        try:
            kept = json.load(file)
            return {name: kept[name] for name in ("watch", "rows", "labels_read")}
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{display_name(state)}: not the state of a watch ({error!r}); name another file as --state.") from None


def _stand_in(mark: str) -> Reference:
    return Reference(0, {}, {}, None, None, mark)


def _check_same(kept: Mapping[str, Any], asked: Mapping[str, Any], only: Any, state: Path) -> None:
    """Raises UserError where a state was made with other settings than those asked for."""
    pairs = {name: (kept[name], asked[name]) for name in ("alpha", "seed", "promise", "reference")}
    if only:
        pairs["tests"] = (sorted(kept["tests"]), sorted(only))
    for name, (had, wanted) in pairs.items():
        if had != wanted:
            raise UserError(
                f"{display_name(state)} is the state of another watch: its {name} is {_short(had)}, not {_short(wanted)}; "
                "name another file as --state, or remove this one."
            )


def _short(value: object) -> str:
    return "none" if value is None else json.dumps(value)
