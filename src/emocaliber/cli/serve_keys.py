"""`emocaliber serve keys`: makes, lists and revokes the keys of a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from emocaliber.cli.arguments import positive

if TYPE_CHECKING:
    from emocaliber.serving.keys import KeyFile

FILE = "the file of keys (default: emocaliber/keys.json in your configuration folder)"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("keys", help="make, list and revoke the keys of a server", description="The keys of a server.")
    actions = parser.add_subparsers(required=True, metavar="ACTION", title="actions")
    make = actions.add_parser("make", help="make a key", description="Prints a new key, once: only its hash is kept.")
    make.add_argument("name", metavar="NAME", help="what the key is called, such as web-shop")
    make.add_argument("--images-per-minute", type=positive, metavar="N", help="its quota (default: none)")
    make.set_defaults(run=run_make)
    shown = actions.add_parser("list", help="list the keys", description="One line for each key: name, quota, when it was made or revoked.")
    shown.set_defaults(run=run_list)
    revoke = actions.add_parser("revoke", help="revoke a key", description="A running server refuses the key from the next request on.")
    revoke.add_argument("name", metavar="NAME", help="what the key is called")
    revoke.set_defaults(run=run_revoke)
    for each in (make, shown, revoke):
        each.add_argument("--keys", type=Path, metavar="FILE", help=FILE)


def run_make(args: argparse.Namespace) -> int:
    from emocaliber.render.terminal import emit, say

    file = _file(args)
    key = file.make(args.name, args.images_per_minute)
    say(f"this is the key {args.name}, which is not shown again; it is kept as a hash in {file.path}")
    emit(key)
    return 0


def run_list(args: argparse.Namespace) -> int:
    from emocaliber.render.terminal import emit, say

    file = _file(args)
    keys = file.read()
    for each in keys:
        quota = f"{each.images_per_minute:,} images a minute" if each.images_per_minute else "no quota"
        state = f"revoked {each.revoked}" if each.revoked else f"made {each.made}"
        emit(f"{each.name}  {quota}  {state}")
    if not keys:
        say(f"there are no keys in {file.path}; emocaliber serve keys make NAME")
    return 0


def run_revoke(args: argparse.Namespace) -> int:
    from emocaliber.render.terminal import say

    file = _file(args)
    file.revoke(args.name)
    say(f"revoked {args.name}")
    return 0


def _file(args: argparse.Namespace) -> KeyFile:
    from emocaliber.serving.keys import KeyFile, default_file

    return KeyFile(args.keys or default_file())
