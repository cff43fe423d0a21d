"""Training and answering at the real size on one GPU, in at most eight minutes: tokens per second, peak memory, MFU, answers per second.

    python benchmarks/gpu.py [--tokenizer DIR] [--seconds 480] [KEY=VALUE ...]
    python benchmarks/gpu.py --shape miniature --device cpu      # the same code in small, about 45 seconds of computing

The model has the published shape of Qwen2.5-VL-7B (`configs/shapes`) and random weights in bfloat16; settings are those of `configs/7b`,
and KEY=VALUE changes them in all stages (`trainer.optim=adafactor`, `lora_rank=64`). Each part is a process of its own:

    stage1, stage2              a few steps of 8 examples, all weights but the vision encoder's
    stage3, stage3-unshared     a few steps of 2 questions with 8 answers each, with the shared prefix and without
    respond                     `LocalModel`, in batches
    vllm                        `VllmModel`; in the environment EMOCALIBER_VLLM, if that is set (docs/vllm.md)

Pictures are synthetic scenes with as many tokens as the largest image of the paper's settings; responses are lengthened to 400 tokens.
Without --tokenizer (a folder with the model's tokenizer.json) that of `tiny` counts the tokens. A random model hardly ever ends an answer,
so answers have their full length. Weights, gradients and AdamW's moments are bfloat16, which real training keeps in float32 (--plan). The
first step of a part is its warm-up and does not count. FLOP are those of the plan (`training/compute.py`), of each way its own: without
checkpointing's second pass. MFU of stage 3 leaves roll-outs out. Peaks are those that vendors state for bfloat16 without sparsity; --flops
names another. What does not fit into the time or the memory is left out, with the reason. The last line is one JSON object; a run on a GPU
also writes it into benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from train_speed import resident

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
PARTS = ("stage1", "stage3", "stage3-unshared", "stage2", "respond", "vllm")  # the most telling first, should time run out
PEAKS = (("H100 PCIe", 756e12), ("H100", 989e12), ("H200", 989e12), ("A100", 312e12), ("L40S", 362e12), ("B200", 2250e12))
RESULTS = Path(__file__).parent / "results"
LEAST = 20.0  # seconds in which a part can be begun


@dataclass(frozen=True)
class Size:
    """Pixels of a picture's side; tokens of a response in stages 1 and 2, and of a sampled answer; examples of a step and answers of a
    group; questions of a step of stage 3; pictures that are asked about at once; and seconds in which a part measures."""

    side: int
    response: int
    answer: int
    batch: int
    questions: int
    asked: int
    seconds: float


SIZES = {"7b": Size(672, 400, 256, 8, 2, 32, 20.0), "miniature": Size(112, 100, 8, 2, 1, 4, 2.0)}
STEPS = 4  # the warm-up among them


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--shape", choices=SIZES, default="7b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tokenizer", metavar="DIR", help="a folder with the model's tokenizer and preprocessor")
    parser.add_argument("--seconds", type=float, default=480.0, help="for all parts together")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--flops", type=float, help="FLOP a second of the GPU at its peak, in bfloat16")
    parser.add_argument("--results", type=Path, help="folder for the JSON file (default, on a GPU: benchmarks/results)")
    parser.add_argument("--one", nargs=3, metavar=("PART", "FOLDER", "SECONDS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        part, folder, seconds = args.one
        print(json.dumps(run_part(part, Path(folder), time.monotonic() + float(seconds), args)))
        return 0
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} sees no GPU here; --shape miniature --device cpu runs the same code on a CPU", file=sys.stderr)
        return 2
    started = time.monotonic()
    found: dict[str, Any] = {"benchmark": "gpu", "date": date.today().isoformat(), **machine(args)}
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        found |= measure(Path(name), started + args.seconds, args)
    found["seconds"] = round(time.monotonic() - started, 1)
    print(table(found))
    if (folder := args.results or (RESULTS if args.device == "cuda" else None)) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"gpu-{'-'.join(found['device'].lower().split())}-{found['date']}.json"
        file.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written: {file}")
    print(json.dumps(found))
    return 0 if found["parts"] else 1


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """What is measured on: the device with its memory and peak, and the releases."""
    import torch
    import transformers
    import trl

    releases = {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__}
    device, memory, peak = "cpu", None, args.flops
    if args.device == "cuda":
        device, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
        peak = peak or next((value for name, value in PEAKS if name in device), None)
    return {"device": device, "memory": memory, "peak_flops": peak, "shape": args.shape, "releases": releases, "settings": args.settings}


def measure(folder: Path, end: float, args: argparse.Namespace) -> dict[str, Any]:
    """Runs the parts one after the other until `end`: what each measured, and why others were left out."""
    made, why = apart("model", folder, end - time.monotonic(), args)
    if made is None:
        return {"parts": {}, "left_out": dict.fromkeys(args.parts, f"no model could be made: {why}")}
    parts, left_out = dict[str, Any](), dict[str, str]()
    for part in args.parts:
        left = end - time.monotonic()
        if left < LEAST:
            left_out[part] = f"no time: {max(left, 0):.0f} s were left"
            continue
        result, why = apart(part, folder, left, args)
        if result is None:
            left_out[part] = why
        else:
            parts[part] = result
        print(f"{part}: {json.dumps(result) if result else 'left out, ' + why}", flush=True)
    return {"model": made, "parts": parts, "left_out": left_out}


def apart(part: str, folder: Path, seconds: float, args: argparse.Namespace) -> tuple[dict[str, Any] | None, str]:
    """The result of a part that runs in a process of its own, or None and the reason."""
    python, environment = sys.executable, dict(os.environ)
    if part == "vllm" and (vllm := os.environ.get("EMOCALIBER_VLLM")):
        import emocaliber

        python = str(Path(vllm) / "bin" / "python")
        paths = (str(Path(emocaliber.__file__).parents[1]), environment.get("EMOCALIBER_VLLM_PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    options = ["--shape", args.shape, "--device", args.device, *(["--tokenizer", args.tokenizer] if args.tokenizer else [])]
    options += ["--flops", str(peak)] if (peak := machine(args)["peak_flops"]) else []
    command = [python, __file__, *args.settings, *options, "--one", part, str(folder), str(seconds)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        return None, f"it had not ended after {seconds:.0f} s"
    if ran.returncode:
        return None, next((line for line in reversed(ran.stderr.splitlines()) if line.strip()), f"exit code {ran.returncode}")
    return json.loads(ran.stdout.splitlines()[-1]), ""


def table(found: dict[str, Any]) -> str:
    from emocaliber.render.table import Table

    def shown(value: Any, form: str = ",.1f") -> str:
        return "-" if value is None else f"{value:{form}}"

    rows = []
    for part, each in found["parts"].items():
        memory, mfu = each.get("peak_memory"), each.get("mfu")
        seconds = each.get("seconds_per_step"), each.get("tokens_per_second"), each.get("answers_per_second")
        rows.append([part, *map(shown, seconds), shown(memory and memory / 2**30, ",.2f"), shown(mfu and 100 * mfu)])
    header = ["part", "s a step", "tokens/s", "answers/s", "peak GiB", "MFU, %"]
    note = "\n".join(f"left out: {part}: {why}" for part, why in found["left_out"].items())
    return Table(header, rows, note=note).as_text()


# Parts, each in a process of its own


def run_part(part: str, folder: Path, end: float, args: argparse.Namespace) -> dict[str, Any]:
    """What the part measured; it stops measuring after its own seconds, or shortly before `end`."""
    if part == "model":
        return make_model(folder, args)
    size = SIZES[args.shape]
    if part in ("respond", "vllm"):
        return answering(part, folder, size, args)
    return training(part, folder, size, end, args)


def make_model(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Saves the random model, and draws the pictures."""
    import torch

    from emocaliber.io.rows import read_rows, write_rows
    from emocaliber.models import TINY
    from emocaliber.models.processor import load_processor
    from emocaliber.scenes.dataset import draw_samples
    from emocaliber.training.miniature import reduced, save_random, with_tokens_of
    from emocaliber.training.shapes import model_config

    size = SIZES[args.shape]
    processor = load_processor(args.tokenizer or TINY, min_pixels=size.side**2, max_pixels=size.side**2)
    config = (reduced if args.shape == "miniature" else with_tokens_of)(model_config(MODEL), processor.tokenizer)
    kind, weights = save_random(config, processor, folder / "model", dtype=torch.bfloat16, device=args.device)
    for _ in draw_samples(folder / "scenes", max(STEPS * size.batch, size.asked), seed=0, size=size.side, split="train"):
        pass
    rows = [
        row
        | {
            "image": str(folder / "scenes" / row["image"]),
            "response": lengthened(row["response"], row["candidates"], size.response, processor),
        }
        for row in read_rows(folder / "scenes" / "samples.jsonl")
    ]
    for stage in ("stage1", "stage2", "stage3"):
        more = "<confidence>0.85</confidence>" if stage == "stage2" else ""
        write_rows(folder / f"{stage}.jsonl", [row | {"response": row["response"] + more} for row in rows])
    return {"class": kind, "weights": weights, "tokenizer": args.tokenizer or "tiny's"}


def lengthened(response: str, candidates: list[str], tokens: int, processor: Any) -> str:
    """The response with its steps repeated until it has about `tokens` tokens."""
    from emocaliber.core.response import Reasoning, Response, parse, render

    read = parse(response, candidates)
    assert isinstance(read, Response) and isinstance(read.reasoning, Reasoning)
    steps = list(vars(read.reasoning).values())
    while len(processor.tokenizer(longer := render(replace(read, reasoning=Reasoning(*steps))))["input_ids"]) < tokens:
        place = min(range(5), key=lambda each: len(steps[each]))
        steps[place] += " " + list(vars(read.reasoning).values())[place]
    return longer


def settings_of(part: str, folder: Path, size: Size, args: argparse.Namespace) -> Any:
    """The configuration of a stage of `configs/7b` with the sizes of this benchmark."""
    from emocaliber.io.configurations import find_configuration
    from emocaliber.training.config import load_config

    stage, _, unshared = part.partition("-")
    changes: dict[str, Any] = {
        "model": folder / "model",
        "out": folder / part,
        "samples": folder / f"{stage}.jsonl",
        "batch_size": size.batch,
        "accumulation": 1,
        "max_steps": STEPS,
        "save_steps": 10**6,
        "logging_steps": 1,
        "min_pixels": size.side**2,
        "max_pixels": size.side**2,
    }
    if stage == "stage2":
        changes |= {"targets": "given"}
    if stage == "stage3":
        changes |= {"group_size": size.batch, "accumulation": size.questions, "updates_per_rollout": 1, "max_new_tokens": size.answer}
        changes |= {"shared_prefix": not unshared}
    texts = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in changes.items()]
    return load_config(stage, find_configuration("7b", "train"), [*texts, *args.settings])


def training(part: str, folder: Path, size: Size, end: float, args: argparse.Namespace) -> dict[str, Any]:
    """A few steps of a stage: seconds, tokens a second, peak memory and MFU."""
    import torch

    from emocaliber.core.response import parse, render
    from emocaliber.inference.engine import question_for
    from emocaliber.models.local import chat_prompt
    from emocaliber.training import stage3
    from emocaliber.training.compute import plan_compute
    from emocaliber.training.samples import training_rows
    from emocaliber.training.stage1 import response_example
    from emocaliber.training.stage2 import given_examples
    from emocaliber.training.trainer import freeze_vision, load_checkpoint, supervised_trainer

    config = settings_of(part, folder, size, args)
    rows = training_rows(config)
    limits = {"min_pixels": config.min_pixels, "max_pixels": config.max_pixels}
    model, processor = load_checkpoint(config.model, dtype=torch.bfloat16, **limits)
    if config.freeze_vision:
        freeze_vision(model)

    def tokens(text: str) -> int:
        return len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    if part.startswith("stage3"):
        trainer = stage3.trainer_of(config, model, processor, rows)
    elif part == "stage2":
        trainer = supervised_trainer(config, model, processor, given_examples(rows))
    else:
        trainer = supervised_trainer(config, model, processor, [response_example(row, str(row["id"]), config) for row in rows])
    watch = Watch(trainer, args.device, end - LEAST / 2, size.seconds)
    before = reset_memory(args.device)
    trainer.train()
    peak = peak_memory(args.device) - before
    asked = tokens(chat_prompt(question_for(rows[0]["task"], rows[0]["candidates"], confidence=part != "stage1"), processor.tokenizer))
    answers = [tokens(render(replace(parse(row["response"], row["candidates"]), confidence=None))) for row in rows]
    answer = round(sum(answers) / len(answers))
    if part.startswith("stage3"):
        answer = round(next(each["completions/mean_length"] for each in trainer.state.log_history if "completions/mean_length" in each))
    plan = plan_compute(config, 1, answer, asked)
    if not (steps := watch.seconds[1:]):
        raise SystemExit("no step but the warm-up fitted into the time")
    step = sum(steps) / len(steps)
    passes = step - sum(watch.rollouts[1:]) / len(steps)
    found: dict[str, Any] = {
        "steps": len(steps),
        "seconds_per_step": step,
        "tokens_per_step": plan.tokens,
        "tokens_per_second": plan.tokens / step,
        "samples_per_second": plan.samples / step,
        "question_tokens": asked,
        "answer_tokens": answer,
        "peak_memory": peak,
        "flop_per_step": plan.training / plan.steps,
        "mfu": plan.training / plan.steps / passes / args.flops if args.flops else None,
    }
    if part.startswith("stage3"):
        generated = plan.samples * config.group_size * answer
        found |= {"seconds_without_rollouts": passes, "generated_tokens_per_second": generated / (step - passes)}
        found["shared"] = bool(getattr(trainer, "_sharing", False))
    return found


class Watch:
    """Seconds of each step of a trainer, and of its roll-outs; ends training after the `seconds` of a part, but not before the second step,
    and at `end` in any case."""

    def __init__(self, trainer: Any, device: str, end: float, seconds: float) -> None:
        from transformers import TrainerCallback

        self.seconds: list[float] = []
        self.rollouts: list[float] = []
        self._device, self._generating, self._last = device, 0.0, 0.0
        watch = self

        class Steps(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                watch._last = watch.now()

            def on_step_end(self, _: Any, state: Any, control: Any, **__: Any) -> None:
                now = watch.now()
                watch.seconds.append(now - watch._last)
                watch.rollouts.append(watch._generating)
                watch._last, watch._generating = now, 0.0
                if now > end or (len(watch.seconds) > 1 and sum(watch.seconds[1:]) > seconds):
                    control.should_training_stop = True

        trainer.add_callback(Steps())
        if (generate := getattr(trainer, "_generate_single_turn", None)) is not None:

            def timed(*given: Any, **options: Any) -> Any:
                start = watch.now()
                result = generate(*given, **options)
                watch._generating += watch.now() - start
                return result

            trainer._generate_single_turn = timed

    def now(self) -> float:
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()
        return time.monotonic()


def answering(part: str, folder: Path, size: Size, args: argparse.Namespace) -> dict[str, Any]:
    """Answers a second about pictures that are asked about at once, for as long as the part has."""
    from PIL import Image

    from emocaliber.core.model import Request
    from emocaliber.inference.engine import question_for
    from emocaliber.io.rows import read_rows
    from emocaliber.models import load_model

    requests = [
        Request(
            Image.open(row["image"]).convert("RGB"), question_for(row["task"], row["candidates"]), tuple(row["candidates"]), key=row["id"]
        )
        for row in list(read_rows(folder / "stage3.jsonl"))[: size.asked]
    ]
    before = reset_memory(args.device)
    if part == "vllm":
        model = load_model(f"vllm:{folder / 'model'}", max_new_tokens=size.answer, max_model_len=2048, concurrency=size.asked)
    else:
        model = load_model(str(folder / "model"), max_new_tokens=size.answer, batch_size=size.asked, device=args.device)
    list(model.answer([replace(request, max_new_tokens=4) for request in requests]))
    start, answered, written = time.monotonic(), 0, 0
    while not answered or time.monotonic() - start < size.seconds:
        replies = list(model.answer(requests))
        answered += len(replies)
        written += sum(reply.usage.completion_tokens for reply in replies if reply.usage)
        if failed := next((reply.error for reply in replies if reply.error), None):
            raise SystemExit(f"a request failed: {failed.message}")
    seconds = time.monotonic() - start
    return {
        "answers": answered,
        "answers_per_second": answered / seconds,
        "tokens_per_second": written / seconds,
        "at_once": size.asked,
        "answer_tokens": written / answered,
        # vLLM's engine, a process of its own, takes a fixed share of the memory.
        "peak_memory": None if part == "vllm" else peak_memory(args.device) - before,
    }


def reset_memory(device: str) -> int:
    """Bytes that do not belong to what is measured from now on; the highest begins anew. On a GPU all that is allocated belongs to it."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return 0
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def peak_memory(device: str) -> int:
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return resident("VmHWM")


if __name__ == "__main__":
    sys.exit(main())
