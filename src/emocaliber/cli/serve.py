"""`emocaliber serve`: the same answers over HTTP."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from emocaliber.cli import serve_keys
from emocaliber.cli.arguments import MODELS, SETTINGS, add_local_settings, local_settings, natural, non_negative, parse_settings, positive
from emocaliber.errors import UserError, missing_packages
from emocaliber.models.shipped import DEFAULT_MODEL

if TYPE_CHECKING:
    from emocaliber.predict.predictor import Predictor

_GRACE = 10  # seconds beyond a request's deadline in which a server that is stopped finishes


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="answer over HTTP",
        description="Serves POST /v1/emotions and more (/openapi.json says what) until it is stopped; then it finishes what it has.",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="M", help=f"{MODELS} (default: {DEFAULT_MODEL})")
    parser.add_argument("--set", action="append", default=[], metavar=SETTINGS, help="a setting of the model (may be repeated)")
    own = "the address to answer at; any but this machine's own needs keys (default: 127.0.0.1)"
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help=own)
    parser.add_argument("--port", type=natural, default=8000, metavar="P", help="the port; 0 takes a free one (default: 8000)")
    named = "a name by which a proxy before it is reached, such as emotions.example.org (may be repeated); needs keys"
    parser.add_argument("--name", action="append", default=[], metavar="NAME", help=named)
    parser.add_argument("--share-port", action="store_true", help="let further servers take a part of the connections to this port")
    parser.add_argument("--keys", type=Path, metavar="FILE", help=serve_keys.FILE)
    parser.add_argument("--jobs", type=Path, metavar="DIR", help="take batch jobs; their images lie in this folder until they are done")
    trust = parser.add_argument_group("confidence")
    trust.add_argument("--confidence", metavar="SOURCE", help="the confidence source (default: that of the model's card)")
    trust.add_argument("--calibrator", type=Path, metavar="FILE.json", help="calibrate the confidence by this file of `calibrate fit`")
    trust.add_argument("--certificate", type=Path, metavar="FILE", help="accept rows by this certificate of `calibrate certify`")
    watched = "watch the answers, and void the certificate when they have changed; the state of the watch is kept in FILE"
    trust.add_argument("--watch", type=Path, metavar="FILE", help=watched)
    limits = parser.add_argument_group("limits")
    limits.add_argument("--batch", type=positive, default=32, metavar="N", help="images that the model sees together (default: 32)")
    limits.add_argument("--queue", type=positive, default=256, metavar="N", help="images that may wait; more get 503 (default: 256)")
    limits.add_argument("--deadline", type=non_negative, default=60.0, metavar="S", help="seconds for an answer, then 504 (default: 60)")
    limits.add_argument("--max-images", type=positive, default=16, metavar="N", help="images in a request (default: 16)")
    limits.add_argument("--max-megabytes", type=positive, default=64, metavar="MB", help="size of a request (default: 64)")
    limits.add_argument("--max-megapixels", type=positive, default=64, metavar="M", help="millions of pixels in an image (default: 64)")
    limits.add_argument("--decoders", type=positive, default=2, metavar="N", help="processes that decode images (default: 2)")
    add_local_settings(parser.add_argument_group("settings of local models"), free=False)
    parser.set_defaults(run=run)
    serve_keys.add_parser(parser.add_subparsers(metavar="", title="actions"))


def run(args: argparse.Namespace) -> int:
    try:
        from emocaliber.serving.app import create_app
        from emocaliber.serving.server import address_of, bound_socket, serve
    except ModuleNotFoundError as error:
        raise missing_packages("serve", "emocaliber serve", error) from error
    from emocaliber.render.terminal import emit, say
    from emocaliber.serving.decoding import DecodingLimits, DecodingPool
    from emocaliber.serving.engine import Engine, EngineLimits
    from emocaliber.serving.jobs.running import JobSettings
    from emocaliber.serving.keys import KeyFile, KeyRing, default_file
    from emocaliber.serving.settings import CertificateInUse, HttpLimits, Settings
    from emocaliber.serving.watching import ServerWatch

    if args.watch and not args.certificate:
        raise UserError("--watch needs --certificate FILE, whose answers those of the server are compared with")
    http = HttpLimits(images=args.max_images, body_bytes=args.max_megabytes * 1_000_000, held_bytes=8 * args.max_megabytes * 1_000_000)
    certificate = CertificateInUse(args.certificate) if args.certificate else None
    settings = Settings(args.host, args.port, tuple(name.lower() for name in args.name), certificate, http)
    file = args.keys or default_file()
    ring = KeyRing(KeyFile(file), needed=not settings.is_local)
    if not settings.is_local and not ring.count:
        where = (args.name or [args.host])[0]
        raise UserError(f"{where} can be reached from other machines, so a key is needed: emocaliber serve keys make NAME")
    bound = bound_socket(args.host, args.port, shared=args.share_port)
    predictor = _predictor(args)
    decoding = DecodingPool(DecodingLimits(max_pixels=args.max_megapixels * 1_000_000, processes=args.decoders))
    engine = Engine(predictor, EngineLimits(queue_images=args.queue, batch_images=args.batch, deadline=args.deadline), decoding)

    def listening() -> None:
        keys = f"; a key is needed ({ring.count} made)" if ring.needed else ""
        emit(f"{predictor.model.name} answers at {address_of(bound)}{keys}")

    if predictor.model.notice:
        say(predictor.model.notice)
    with contextlib.ExitStack() as closing:
        watch = closing.enter_context(ServerWatch(args.certificate, args.watch)) if args.watch else None
        app = create_app(engine, settings, ring, watch, JobSettings(args.jobs) if args.jobs else None)
        serve(app, settings, bound, listening, args.deadline + http.body_seconds + _GRACE)
    say("stopped")
    return 0


def _predictor(args: argparse.Namespace) -> Predictor:
    from emocaliber.inference.plan import model_settings
    from emocaliber.predict.predictor import load
    from emocaliber.render.progress import Progress

    given = model_settings(local_settings(args) | parse_settings(args.set))
    with Progress(f"loading {args.model}"):
        return load(args.model, confidence=args.confidence, calibrator=args.calibrator, **given)
