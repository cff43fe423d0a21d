"""`emocaliber tasks`: the tasks with their groups, taxonomies and labels."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence

from emocaliber.render.layout import GAP, cells, total
from emocaliber.render.terminal import width_of

_NARROWEST = 20  # cells for the labels


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "tasks",
        help="list the tasks and their labels",
        description="The tasks that --task takes: VECBench's nine and those of plug-ins, with the labels that are the candidates. "
        "`emocaliber emotions TASK` shows a task's taxonomy.",
    )
    parser.add_argument("task", nargs="?", metavar="TASK", help="only this one, in any case")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from emocaliber.core.tasks import TASKS, task
    from emocaliber.emotions.taxonomy import taxonomy
    from emocaliber.render.table import NONE, Table

    chosen = [task(args.task)] if args.task else list(TASKS.values())
    taxonomies = {each.name: taxonomy(each.taxonomy) for each in chosen}
    if args.json:
        rows = [
            {"task": each.name, "group": each.group, "taxonomy": taxonomies[each.name].name, "labels": list(taxonomies[each.name].labels)}
            for each in chosen
        ]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    table = [[each.name, each.group or NONE, taxonomies[each.name].name, ", ".join(taxonomies[each.name].labels)] for each in chosen]
    header = ("task", "group", "taxonomy", "labels")
    print(Table(header, list(_folded([header, *table], width_of(sys.stdout)))[1:], words=4).as_text())
    return 0


def _folded(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[list[str]]:
    """The rows, with the labels of each broken into as many rows as a terminal of `width` cells needs."""
    names = total([max(map(cells, column)) for column in list(zip(*rows, strict=True))[:-1]]) + GAP
    for *head, labels in rows:
        lines = [labels] if width is None else textwrap.wrap(labels, max(width - names, _NARROWEST), break_long_words=False)
        for number, line in enumerate(lines):
            yield [*(head if number == 0 else [""] * len(head)), line]
