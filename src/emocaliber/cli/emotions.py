"""`emocaliber emotions`: taxonomies, their families and VAD values, and the emotion loop."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.errors import UserError
from emocaliber.render.table import Table

if TYPE_CHECKING:
    from emocaliber.emotions.lexicon import Lexicon
    from emocaliber.emotions.taxonomy import Taxonomy


_WIDEST_MATRIX = 12


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "emotions",
        help="show taxonomies and their emotion loops",
        description="Without TAXONOMY, lists the built-in ones. With one: labels, families, VAD values, the loop and its distances.",
    )
    parser.add_argument(
        "taxonomy",
        nargs="?",
        metavar="TAXONOMY",
        help="a built-in name, a task such as EmoSet-8 (both in any case), or a TOML file of the same format",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--lexicon", type=Path, metavar="FILE", help="your copy of the NRC VAD lexicon, for labels without a value")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.core.tasks import taxonomy_of
    from emocaliber.emotions.lexicon import read_lexicon
    from emocaliber.emotions.taxonomy import BUILT_IN, taxonomy
    from emocaliber.render.terminal import show

    if args.taxonomy is None:
        if args.lexicon:
            raise UserError("--lexicon needs a taxonomy to give values to; name one before it")
        built_in = [taxonomy(name) for name in BUILT_IN]
        if args.json:
            print(json.dumps([_description(each) for each in built_in], indent=2))
        else:
            show(_overview(built_in))
        return 0

    given = taxonomy_of(args.taxonomy) or taxonomy(args.taxonomy)
    lexicon = read_lexicon(args.lexicon) if args.lexicon else None
    chosen = given.with_lexicon(lexicon or {})
    if args.json:
        used = {"lexicon": lexicon and _lexicon(lexicon, given.without_vad())}
        print(json.dumps(_description(chosen) | used, indent=2, ensure_ascii=False))
    else:
        note = _lexicon_line(lexicon, given.without_vad()) if lexicon else ""
        show(_labels(chosen, note), _loop(chosen), *_distances(chosen))
        if len(chosen.labels) > _WIDEST_MATRIX:
            print(f"\nDistances: {len(chosen.labels)} labels are too many for a matrix here; --json prints them all.")
    return 0


def _description(taxonomy: Taxonomy) -> dict[str, Any]:
    loop = taxonomy.loop()
    return {
        "name": taxonomy.name,
        "labels": [{"label": label, "parent": taxonomy.parents.get(label), **taxonomy.vad[label]._asdict()} for label in taxonomy.labels],
        "aliases": dict(taxonomy.aliases),
        "loop": {
            "kind": taxonomy.kind_of_loop,
            "order": loop.order,
            "arcs": loop.arcs,
            "perimeter": loop.perimeter,
            "exact": loop.exact,
            "gap": loop.gap,
        },
        "distances": {a: {b: loop.distance(a, b) for b in taxonomy.labels} for a in taxonomy.labels},
    }


def _lexicon(lexicon: Lexicon, used_for: Sequence[str]) -> dict[str, Any]:
    return {"version": lexicon.version, "detected_by": lexicon.detected_by, "words": len(lexicon), "used_for": used_for}


def _lexicon_line(lexicon: Lexicon, used_for: Sequence[str]) -> str:
    return f"Lexicon: {lexicon.describe()}; used for {', '.join(used_for) or 'no label, since all have values of their own'}."


def _overview(taxonomies: Iterable[Taxonomy]) -> Table:
    rows = [
        (each.name, each.kind_of_loop, str(len(each.labels)), str(len(set(each.parents.values())) or "-"), f"{each.loop().perimeter:.3f}")
        for each in taxonomies
    ]
    return Table(("taxonomy", "loop", "labels", "families", "perimeter"), rows, words=2)


def _labels(taxonomy: Taxonomy, note: str) -> Table:
    rows = [(label, taxonomy.parents.get(label, "-"), *(f"{x:.3f}" for x in taxonomy.vad[label])) for label in taxonomy.labels]
    header = ("label", "parent", "valence", "arousal", "dominance")
    return Table(header, rows, f"{taxonomy.name}\n", note and f"\n{note}", words=2)


def _loop(taxonomy: Taxonomy) -> Table:
    loop = taxonomy.loop()
    proof = "shortest possible" if loop.exact else f"local search, at most {100 * loop.gap:.2f} % too long"
    rows = [(a, b, f"{arc:.3f}") for (a, b), arc in zip(pairwise((*loop.order, loop.order[0])), loop.arcs, strict=True)]
    return Table(("from", "to", "arc"), rows, f"Loop: {taxonomy.kind_of_loop}, perimeter {loop.perimeter:.3f} ({proof})\n", words=2)


def _distances(taxonomy: Taxonomy) -> Iterator[Table]:
    """The distances of the loop; those of many labels are a matrix for files, not for people."""
    loop = taxonomy.loop()
    if len(loop.order) <= _WIDEST_MATRIX:
        rows = [(a, *(f"{loop.distance(a, b):.3f}" for b in loop.order)) for a in loop.order]
        yield Table(("", *loop.order), rows, "Distances: shorter arc / perimeter\n")
