"""A pipeline of one's own on `ray.data.llm`, whose vLLM answers the questions of `emocaliber respond`.

    pip install "ray[data,llm]"
    python examples/ray_batch.py bench/test.jsonl wudq/EmoCaliber answers [further arguments of vLLM's engine, as JSON]
    emocaliber respond bench/test.jsonl --model recorded:answers --out runs/emocaliber

It writes recorded answers into a folder that all machines see, and leaves out images that cannot be opened, which `respond` then gives the
error of. Without a pipeline of one's own, `emocaliber respond --engine ray --model vllm:ID` does it all.
"""

import json
import sys
from pathlib import Path

from emocaliber.core.samples import read_samples
from emocaliber.integrations.ray_llm import from_tokens, is_readable, to_messages

try:
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig
except ImportError:
    sys.exit("this example needs Ray and vLLM: pip install 'ray[data,llm]'")


def answer(row):
    logprobs = [{int(key): dict(value) for key, value in place.items()} for place in row["logprobs"]]
    return {"answer": json.dumps(from_tokens(row["id"], row["generated_text"], list(row["generated_tokens"]), logprobs))}


def main(samples: str, model: str, out: str, engine: str = "{}", config: str = "{}") -> None:
    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=model,
            engine_kwargs={"limit_mm_per_prompt": {"image": 1}, **json.loads(engine)},
            prepare_multimodal_stage={"enabled": True, "chat_template_content_format": "openai"},
            should_continue_on_error=True,
            **json.loads(config),
        ),
        preprocess=to_messages,
        postprocess=answer,
    )
    rows = ray.data.from_items([sample.to_row() for sample in read_samples(samples)])
    answered = processor(rows.filter(is_readable))
    Path(out).mkdir(parents=True, exist_ok=True)
    with open(Path(out) / "answers.jsonl", "w") as file:
        for row in answered.iter_rows():
            file.write(row["answer"] + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
