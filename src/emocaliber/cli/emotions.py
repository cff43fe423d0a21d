"""`emocaliber emotions`: taxonomies, their families and VAD values, and the emotion loop."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.errors import UserError

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

    if args.taxonomy is None:
        if args.lexicon:
            raise UserError("--lexicon needs a taxonomy to give values to; name one before it")
        built_in = [taxonomy(name) for name in BUILT_IN]
        print(json.dumps([_description(each) for each in built_in], indent=2) if args.json else _overview(built_in))
        return 0

    given = taxonomy_of(args.taxonomy) or taxonomy(args.taxonomy)
    lexicon = read_lexicon(args.lexicon) if args.lexicon else None
    chosen = given.with_lexicon(lexicon or {})
    if args.json:
        used = {"lexicon": lexicon and _lexicon(lexicon, given.without_vad())}
        print(json.dumps(_description(chosen) | used, indent=2, ensure_ascii=False))
    else:
        note = _lexicon_line(lexicon, given.without_vad()) if lexicon else None
        print("\n\n".join(part for part in (_labels(chosen), note, _loop(chosen), _distances(chosen)) if part))
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


def _overview(taxonomies: Iterable[Taxonomy]) -> str:
    rows = [
        (each.name, str(len(each.labels)), str(len(set(each.parents.values())) or "-"), each.kind_of_loop, f"{each.loop().perimeter:.3f}")
        for each in taxonomies
    ]
    return _table(("taxonomy", "labels", "families", "loop", "perimeter"), rows)


def _labels(taxonomy: Taxonomy) -> str:
    rows = [(label, taxonomy.parents.get(label, "-"), *(f"{x:.3f}" for x in taxonomy.vad[label])) for label in taxonomy.labels]
    return f"{taxonomy.name}\n\n" + _table(("label", "parent", "valence", "arousal", "dominance"), rows)


def _loop(taxonomy: Taxonomy) -> str:
    loop = taxonomy.loop()
    proof = "shortest possible" if loop.exact else f"local search, at most {loop.gap:.2%} too long"
    rows = [(a, b, f"{arc:.3f}") for (a, b), arc in zip(pairwise((*loop.order, loop.order[0])), loop.arcs, strict=True)]
    return f"Loop: {taxonomy.kind_of_loop}, perimeter {loop.perimeter:.3f} ({proof})\n\n" + _table(("from", "to", "arc"), rows)


def _distances(taxonomy: Taxonomy) -> str:
    loop = taxonomy.loop()
    if len(loop.order) > _WIDEST_MATRIX:
        return f"Distances: {len(loop.order)} labels are too many for a matrix here; --json prints them all."
    rows = [(a, *(f"{loop.distance(a, b):.3f}" for b in loop.order)) for a in loop.order]
    return "Distances: shorter arc / perimeter\n\n" + _table(("", *loop.order), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart; columns of numbers (or dashes) are aligned right."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [all(cell == "-" or not cell.strip("-.0123456789") for cell in column[1:]) for column in columns]
    pads = [str.rjust if right else str.ljust for right in numeric]
    lines = ("  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)
