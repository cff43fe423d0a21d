"""`emocaliber tasks`: the tasks with their groups, taxonomies and labels."""

from __future__ import annotations

import argparse
import json


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
    print(Table(("task", "group", "taxonomy", "labels"), table, words=4).as_text())
    return 0
