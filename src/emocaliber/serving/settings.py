"""What a server was started with, and the questions that it takes."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.predict.predictor import Query
from emocaliber.trust.certificate_file import Certificate, read_certificate, this_moment, voided


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an address without port, is this machine as only itself sees it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class HttpLimits:
    """Limits on a request and on all of them together; sizes in bytes, times in seconds.

    `held_bytes` is what the bodies of all requests may take at once. A body must be there within `body_seconds`, and a part of it every
    `idle_seconds`. A `label` has at most `label_characters`.
    """

    body_bytes: int = 64_000_000
    held_bytes: int = 512_000_000
    images: int = 16
    fields: int = 16
    field_bytes: int = 64_000
    headers: int = 100
    header_bytes: int = 16_384
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 15.0
    connections: int = 2_000
    labels: int = 64
    label_characters: int = 64


class CertificateInUse:
    """The certificate in a file, read again when the file changes: a watch, or a person, may have declared it void."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._certificate = read_certificate(file)
        self._seen = self._mark()

    def _mark(self) -> tuple[int, int, int]:
        found = os.stat(self.file)
        return found.st_mtime_ns, found.st_size, found.st_ino

    @property
    def current(self) -> Certificate:
        """The certificate as it is now; void if its file cannot be read any more."""
        try:
            if (mark := self._mark()) != self._seen:
                self._certificate, self._seen = read_certificate(self.file), mark
        except (OSError, UserError):
            return voided(self._certificate, this_moment().isoformat(), "the server cannot read its file any more")
        return self._certificate


@dataclass(frozen=True)
class Settings:
    """What a server was started with. `created` is when, in seconds since 1970.

    `names` are those by which a proxy on this machine lets others reach it.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    certificate: CertificateInUse | None = None
    http: HttpLimits = field(default_factory=HttpLimits)
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host) and not self.names

    def answers_to(self, host: str | None) -> bool:
        """Whether a request may name this host: of a server of this machine, its own names and the proxy's, against DNS rebinding."""
        return not is_loopback(self.host) or (host is not None and (is_loopback(host) or host in self.names))

    def query(self, task: str | None = None, labels: str | Sequence[str] | None = None, min_confidence: float | None = None) -> Query:
        """The query of a request, with the server's certificate.

        Raises UserError, which a client gets as 422, as `Query.of` does, and for more or longer labels than the limits allow.
        """
        if self.certificate and min_confidence is not None:
            raise UserError("this server decides by a certificate, so a request gives no min_confidence; leave it out")
        if labels is not None:
            names = labels.split(",") if isinstance(labels, str) else labels
            if len(names) > self.http.labels:
                raise UserError(f"{len(names)} labels are more than the limit of {self.http.labels}; give fewer")
            if any(len(name.strip()) > self.http.label_characters for name in names):
                raise UserError(f"a label is longer than the limit of {self.http.label_characters} characters; give a shorter one")
            if not all(name.strip().isprintable() for name in names):
                raise UserError("a label has characters that cannot be shown, such as line breaks; leave them out")
        return Query.of(task, labels, min_confidence, self.certificate.current if self.certificate else None)
