"""`emocaliber label`: people say what pictures evoke, on a local page; their votes become samples."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

from emocaliber.cli.arguments import SHORT_MODELS, add_image_limits, at_most, image_limits, parse_settings, split_settings
from emocaliber.errors import UserError, missing_packages
from emocaliber.io.rows import display_name
from emocaliber.render.terminal import emit, say

if TYPE_CHECKING:
    from emocaliber.predict.predictor import Query
    from emocaliber.serving.votes import Votes

_GRACE = 10  # seconds in which a server that is stopped finishes


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "label",
        help="ask people what your pictures evoke, on a page",
        description="Shows the pictures of a folder on a page and asks each person what they evoke. Every vote is appended to --out at "
        "once; the same command goes on after an interruption. With --samples, the votes become samples that respond, score, calibrate and "
        "train read. Stop it with Ctrl-C.",
    )
    parser.add_argument("folder", nargs="+", metavar="FOLDER|KEY=VALUE", help="folders, files or globs; settings of the model")
    parser.add_argument("--out", required=True, metavar="VOTES.jsonl", help="the votes, one a line")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--task", metavar="T", help="the task whose labels can be chosen (default: EmoSet-8)")
    what.add_argument("--labels", metavar="A,B,C", help="labels of your own")
    parser.add_argument("--samples", metavar="SAMPLES.jsonl", help="write samples with the votes, now and when it is stopped")
    split = "what the samples are for: test (default), or train, as training refuses test samples"
    parser.add_argument("--split", choices=("test", "train"), default="test", help=split)
    parser.add_argument("--samples-only", action="store_true", help="write the samples of the votes so far, and stop")
    parser.add_argument("--model", metavar="M", help=f"show its answer to each person after their vote: {SHORT_MODELS}")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="the address to listen on (default: this machine only)")
    parser.add_argument("--port", type=at_most(65535), default=8001, metavar="P", help="the port (default: 8001; 0: any that is free)")
    add_image_limits(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import io
    from importlib import import_module

    from emocaliber.inference.plan import model_settings
    from emocaliber.io.inputs import find_images
    from emocaliber.predict.predictor import Query
    from emocaliber.serving.votes import Votes

    if not args.samples_only:
        try:
            import_module("emocaliber.serving.labelling")
        except ModuleNotFoundError as error:
            raise missing_packages("serve", "emocaliber label", error) from error
    paths, settings = split_settings(args.folder)
    if args.samples_only and not args.samples:
        raise UserError("--samples-only needs the file to write; name it with --samples F.jsonl")
    if args.samples and Path(args.samples).absolute() == Path(args.out).absolute():
        raise UserError(f"the votes and the samples cannot both be in {args.out}; give --samples another name")
    if "-" in paths:
        raise UserError("pictures for people are not read from standard input; name their folder")
    if not paths:
        raise UserError("no pictures are named; give their folder")
    query = Query.of(args.task, args.labels)
    images = [str(image) for image in find_images(paths, io.BytesIO())]
    with Votes(args.out, images, query.task, query.candidates) as votes:
        if args.samples and (len(votes) or args.samples_only):
            say(votes.write_samples(args.samples, args.split))
        if not args.samples_only:
            _serve(args, votes, images, query, model_settings(parse_settings(settings)))
    return 0


def _serve(args: argparse.Namespace, votes: Votes, images: list[str], query: Query, settings: dict[str, Any]) -> None:
    """Shows the pictures until Ctrl-C, then writes the samples."""
    from emocaliber.predict.predictor import load
    from emocaliber.render.progress import Progress
    from emocaliber.serving.labelling import create_label_app
    from emocaliber.serving.server import address_of, bound_socket, serve
    from emocaliber.serving.settings import Settings

    predictor = None
    bound, server = bound_socket(args.host, args.port), Settings(args.host, args.port)
    if args.model:
        with Progress(f"loading {args.model}"):
            predictor = load(args.model, **settings)
        for sentence in (*([predictor.model.notice] if predictor.model.notice else []), *predictor.warnings(query)):
            say(sentence)
    if not server.is_local:
        say("votes and pictures travel unencrypted; nobody without the link can see them or vote")

    secret = secrets.token_urlsafe(16)
    app = create_label_app(votes, images, query, secret, predictor, image_limits(args))
    address = address_of(bound)
    for everywhere in ("//0.0.0.0:", "//[::]:"):  # listened on, but no address to open
        address = address.replace(everywhere, f"//{gethostname()}:")
    link = f"{address}/#{secret}"
    serve(app, server, bound, lambda: emit(f"open {link} and stop with Ctrl-C"), _GRACE)
    votes.close()
    people = f"{len(votes.people)} {'person' if len(votes.people) == 1 else 'people'}"
    say(f"{display_name(votes.path)} holds {len(votes)} votes by {people} on {len(images)} pictures")
    if args.samples and len(votes):
        say(votes.write_samples(args.samples, args.split))
