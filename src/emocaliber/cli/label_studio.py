"""`emocaliber label-studio`: an ML backend for Label Studio, which predicts its tasks and learns a calibrator from people's annotations."""

from __future__ import annotations

import argparse
import os
from importlib import import_module
from pathlib import Path

from emocaliber.cli.arguments import SHORT_MODELS, add_local_settings, local_settings
from emocaliber.errors import UserError, missing_packages
from emocaliber.models.shipped import DEFAULT_MODEL

_GRACE = 10.0  # seconds for what was asked before it ends


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "label-studio",
        help="answer Label Studio as its ML backend",
        description="Predicts the tasks of Label Studio, with the calibrated probability as their score, keeps people's annotations, and "
        "fits a calibrator on them when training is started there (docs/integrations.md).",
    )
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, metavar="MODEL", help=f"{SHORT_MODELS} (default: {DEFAULT_MODEL})")
    parser.add_argument(
        "--out", type=Path, default=Path("label-studio"), metavar="DIR", help="annotations and calibrator (default: %(default)s)"
    )
    parser.add_argument(
        "--label-studio", metavar="URL", help="where Label Studio is, to fetch uploaded images; its key is read from LABEL_STUDIO_API_KEY"
    )
    parser.add_argument("--files", type=Path, metavar="DIR", help="the folder of its local storage (LOCAL_FILES_DOCUMENT_ROOT there)")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9090, metavar="P", help="the port (default: %(default)s, Label Studio's usual one)")
    add_local_settings(parser.add_argument_group("local models"), free=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        import_module("emocaliber.serving.server")
    except ModuleNotFoundError as error:
        raise missing_packages("serve", "emocaliber label-studio", error) from error
    from emocaliber.integrations.label_studio import Sources, credentials
    from emocaliber.integrations.label_studio_backend import Backend, create_backend_app
    from emocaliber.predict.predictor import load
    from emocaliber.render.progress import Progress
    from emocaliber.render.terminal import emit, say
    from emocaliber.serving.server import address_of, bound_socket, serve
    from emocaliber.serving.settings import Settings

    secret, settings = credentials(), Settings(args.host, args.port)
    if args.files and not args.files.is_dir():
        raise UserError(f"--files {args.files} is no folder")
    if not settings.is_local and secret is None:
        raise UserError("other machines can reach this address: set BASIC_AUTH_USER and BASIC_AUTH_PASS, and give both to Label Studio")
    bound = bound_socket(args.host, args.port)
    with Progress(f"loading {args.model}"):
        sources = Sources(args.label_studio, os.environ.get("LABEL_STUDIO_API_KEY"), args.files)
        backend = Backend(lambda calibrator: load(args.model, calibrator=calibrator, **local_settings(args)), args.out, sources)
    if notice := backend.predictor.model.notice:
        say(notice)
    address = address_of(bound)
    told = f"{backend.version} answers Label Studio at {address}: Settings, Model, Connect Model; stop with Ctrl-C"
    serve(create_backend_app(backend, secret), settings, bound, lambda: emit(told), _GRACE)
    return 0
