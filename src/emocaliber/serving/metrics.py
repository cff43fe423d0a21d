"""What a server counts, for Prometheus: requests, images, batches, the confidence of answers, the certificate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics, generate_latest

from emocaliber.predict.prediction import Prediction, status
from emocaliber.predict.predictor import Query
from emocaliber.serving.bodies import Memory
from emocaliber.serving.engine import Engine
from emocaliber.serving.settings import CertificateInUse
from emocaliber.trust.certificate_file import this_moment

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
_TENTHS = tuple(n / 10 for n in range(1, 11))


class Metrics:
    """The counts of one engine; an `Observer` of it. No label holds anything that a client sent."""

    def __init__(self, engine: Engine, memory: Memory, certificate: CertificateInUse | None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nothing reads
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        name = "emocaliber_"
        self._requests = Counter(f"{name}requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self._request_seconds = Histogram(
            f"{name}request_seconds", "Time to answer a request.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        outcomes = "Images by outcome: answered, accepted, abstained, failed."
        self._images = Counter(f"{name}images", outcomes, ["outcome"], registry=self.registry)
        self._errors = Counter(
            f"{name}image_errors", "Images that failed, by code; malformed: unreadable answers.", ["code"], registry=self.registry
        )
        self._seconds = Histogram(
            f"{name}image_seconds", "Time from an image's arrival to its answer.", buckets=_SECONDS, registry=self.registry
        )
        self._confidence = Histogram(f"{name}confidence", "Confidence of answers.", buckets=_TENTHS, registry=self.registry)
        self._batch_images = Histogram(f"{name}batch_images", "Images in a batch.", buckets=_IMAGES, registry=self.registry)
        self._batch_pixels = Histogram(
            f"{name}batch_pixels", "Pixels in a batch.", buckets=[10.0**n for n in range(4, 9)], registry=self.registry
        )
        self._batch_seconds = Histogram(f"{name}batch_seconds", "Time of a batch in the model.", buckets=_SECONDS, registry=self.registry)
        self._refused = Counter(f"{name}refused_images", "Images not answered: busy, late.", ["reason"], registry=self.registry)
        gauges: list[tuple[str, str, Callable[[], float]]] = [
            ("queue_images", "Images that were taken and are not answered.", lambda: engine.images),
            ("queue_pixels", "Decoded pixels that are held.", lambda: engine.pixels),
            ("body_bytes", "Bytes of the bodies of requests that are held.", lambda: memory.held),
            ("decoder_restarts", "Decoding processes that had to be replaced.", lambda: engine.decoding.restarts),
        ]
        if certificate:
            valid = "1 while the certificate holds; 0 once it is void or expired."
            gauges += [
                ("certificate_valid", valid, lambda: float(_is_valid(certificate))),
                ("certificate_expires", "When the certificate expires, in seconds since 1970.", lambda: _expires(certificate)),
            ]
        for called, text, value in gauges:
            Gauge(name + called, text, registry=self.registry).set_function(value)
        self.further: list[Callable[[], str]] = []  # texts of others, in the same format
        engine.observers.append(self)

    def text(self) -> bytes:
        """All counts in Prometheus' text format."""
        return generate_latest(self.registry) + "".join(each() for each in self.further).encode()

    def request(self, route: str, code: int, seconds: float) -> None:
        """Counts a request."""
        self._requests.labels(route, str(code)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def answered(self, prediction: Prediction, query: Query, seconds: float) -> None:
        """Counts an image; see `Observer`."""
        row = prediction.to_row()
        self._images.labels(status(row)).inc()
        if prediction.error:
            self._errors.labels(prediction.error.code).inc()
        elif prediction.confidence is not None:
            self._confidence.observe(prediction.confidence)
        self._seconds.observe(seconds)

    def batch(self, images: int, pixels: int, seconds: float) -> None:
        """Counts a batch; see `Observer`."""
        self._batch_images.observe(images)
        self._batch_pixels.observe(pixels)
        self._batch_seconds.observe(seconds)

    def refused(self, reason: str, images: int) -> None:
        """Counts images that were not answered; see `Observer`."""
        self._refused.labels(reason).inc(images)


def _is_valid(certificate: CertificateInUse) -> bool:
    current = certificate.current
    return not current.voided and this_moment().timestamp() < _expires(certificate)


def _expires(certificate: CertificateInUse) -> float:
    return datetime.fromisoformat(certificate.current.expires).timestamp()
