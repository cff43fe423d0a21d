"""`emocaliber respond` on a Ray cluster: each worker loads the model once and is handed batches of samples; the rows come back in order.

    pip install "ray[data]"
    python examples/ray_respond.py bench/test.jsonl responses.jsonl --config configs/baselines/qwen2.5-vl.toml --workers 8 --gpus 1

Images lie where all workers see them. A broken run goes on where it was: rows that are in the file are not asked for again. Which worker
answers a sample makes no difference, up to rounding, as the sample's own seed decides what is sampled. Without Ray, `respond --shard 1/8`
to `--shard 8/8` do the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from emocaliber.core.samples import Sample, read_samples
from emocaliber.inference.engine import respond
from emocaliber.inference.plan import read_run_config
from emocaliber.io.configurations import find_configuration
from emocaliber.io.rows import RowWriter
from emocaliber.models import load_model
from emocaliber.models.strategies import apply

try:
    import ray
except ImportError:
    sys.exit("this example needs Ray: pip install 'ray[data]'")


class Responder:
    """A worker. Rows travel as JSON, as a table would give nested objects all the same keys."""

    def __init__(self, run_file: Path, flags: dict[str, Any], folder: Path) -> None:
        self._config, self._folder = read_run_config(run_file, flags), folder
        self._model = apply(self._config.strategy, load_model(self._config.model, **self._config.settings), self._config.lenient)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        samples = [Sample.from_row(json.loads(row), "the samples") for row in batch["row"]]
        rows = respond(
            samples,
            self._model,
            prompt=self._config.prompt,
            lenient=self._config.lenient,
            confidence=self._config.confidence,
            folder=self._folder,
        )
        return {"row": [json.dumps(row) for row in rows]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", required=True, help="a run file, or the name of one in configs/baselines")
    parser.add_argument("--model", help="another model than the run file's")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gpus", type=float, default=0, help="for each worker")
    parser.add_argument("--batch-size", type=int, default=128, help="samples handed to a worker at once")
    args = parser.parse_args()
    config, folder = find_configuration(args.config, "respond").absolute(), args.out.absolute().parent
    flags = {"model": args.model} if args.model else {}
    read_run_config(config, flags)  # complains here, not on a worker
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    with RowWriter(args.out, resume=True) as writer:
        missing = [{"row": json.dumps(each.to_row())} for each in read_samples(args.samples) if each.id not in writer.done]
        if not missing:
            return
        answered = ray.data.from_items(missing).map_batches(
            Responder,
            fn_constructor_args=(config, flags, folder),
            batch_size=args.batch_size,
            compute=ray.data.ActorPoolStrategy(size=args.workers),
            num_gpus=args.gpus,
        )
        for row in tqdm(answered.iter_rows(), total=len(missing), desc="asking", unit="sample"):
            writer.write(json.loads(row["row"]))


if __name__ == "__main__":
    main()
