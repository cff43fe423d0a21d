"""`VllmModel`: checkpoints through vLLM's offline engine, with continuous batching and prefix caching."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from emocaliber.core.model import ModelError, Reply, Request, Tokens, Usage, mixed_seed
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError, missing_packages
from emocaliber.models.card import DescribedByCard, notice_of, read_card
from emocaliber.models.local import chat_prompt, vision_tokens
from emocaliber.models.processor import load_processor
from emocaliber.models.tokens import TOP, Likeliest, TokenBytes

_NEVER = -100.0  # added to a logit: a probability below 1e-43


@dataclass
class _Asked:
    """A request in the engine; `reply` is None until it is finished."""

    start: float
    candidates: Labels
    reply: Reply | None = None


class VllmModel(DescribedByCard):
    """A checkpoint folder or hub id in vLLM's offline engine: bfloat16 on a GPU, float32 on a CPU, unless `dtype` names another.

    Template, pixel limits, end of turn, suppressed tokens and greedy answers (up to rounding) are those of `LocalModel`. Samples depend on
    `seed` and the seed of the request, but differ from those of `LocalModel`. Log-probabilities are those before the vision tokens are
    suppressed, which carry next to no probability in a trained model. `seconds` of a reply: latency from submission to completion.

    `concurrency` is the number of requests that the engine works on at once; as many again are queued. `max_model_len` is the longest
    prompt and answer in tokens for which the engine reserves memory; `gpu_memory_utilization` the share of the GPU's memory that it
    takes; `tensor_parallel_size` the number of GPUs that share the model. `enforce_eager` starts faster and answers more slowly. Raises
    UserError if vLLM is not installed or cannot load the checkpoint.
    """

    window: int | None = None

    def __init__(
        self,
        model_id: str | Path,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        max_new_tokens: int | None = None,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        concurrency: int = 128,
        max_model_len: int | None = None,
        gpu_memory_utilization: float | None = None,
        tensor_parallel_size: int = 1,
        dtype: str | None = None,
        enforce_eager: bool = False,
    ) -> None:
        card = read_card(model_id)
        self.describe(card, str(model_id))
        self.notice: str | None = notice_of(card, temperature)
        self._temperature, self._seed = temperature, seed
        self._max_new_tokens: int = max_new_tokens or card.get("max_new_tokens", 1024)
        self._ahead = 2 * concurrency
        self._asked: dict[str, _Asked] = {}
        self._numbers = count()
        settings: dict[str, Any] = {
            "model": str(model_id),
            "dtype": dtype,
            "max_num_seqs": concurrency,
            "max_model_len": max_model_len,
            "gpu_memory_utilization": gpu_memory_utilization,
            "tensor_parallel_size": tensor_parallel_size,
            "enforce_eager": enforce_eager,
            "enable_prefix_caching": True,
            "limit_mm_per_prompt": {"image": 1, "video": 0},
            "max_logprobs": TOP,
            "disable_log_stats": True,
        }
        try:
            processor = load_processor(model_id, min_pixels=min_pixels, max_pixels=max_pixels)
            settings["mm_processor_kwargs"] = _image_settings(processor.image_processor)
            self._engine = _start({name: value for name, value in settings.items() if value is not None})
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"vLLM cannot load a model from {model_id}: {reason} Give a checkpoint folder or a hub id.") from error
        self._tokenizer = processor.tokenizer
        self._token_bytes = TokenBytes(self._tokenizer)
        self._vision_tokens = vision_tokens(self._engine.model_config.hf_config, self._tokenizer)

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Replies in order. At most twice `concurrency` requests are taken ahead of the replies."""
        pending = iter(requests)
        waiting: deque[tuple[str, _Asked]] = deque()
        try:
            while True:
                waiting.extend(map(self._ask, islice(pending, self._ahead - len(waiting))))
                if not waiting:
                    return
                while (reply := waiting[0][1].reply) is None:
                    self._step()
                waiting.popleft()
                yield reply
        finally:  # the caller may stop before the last reply
            self._engine.abort_request([number for number, _ in waiting if self._asked.pop(number, None)])

    def _ask(self, request: Request) -> tuple[str, _Asked]:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError

        number, asked = str(next(self._numbers)), _Asked(time.perf_counter(), request.candidates)
        try:
            how = SamplingParams(
                temperature=self._temperature if request.temperature is None else request.temperature,
                seed=mixed_seed(self._seed, request.seed),
                max_tokens=request.max_new_tokens or self._max_new_tokens,
                logprobs=TOP,
                flat_logprobs=True,
                detokenize=False,
                logit_bias=dict.fromkeys(self._vision_tokens, _NEVER),
            )
            prompt = {"prompt": chat_prompt(request.question, self._tokenizer), "multi_modal_data": {"image": request.image}}
            (made,) = self._engine.renderer.render_cmpl([prompt])
            self._engine.add_request(number, made, how)
            self._asked[number] = asked
        except (ValueError, VLLMClientError) as error:  # such as a prompt that is longer than `max_model_len`
            asked.reply = Reply("", 0.0, error=ModelError("bad_request", f"vLLM does not take the request: {error}"))
        return number, asked

    def _step(self) -> None:
        """One step of the engine; replies of finished requests are stored. Raises UserError if the engine has died."""
        from vllm.exceptions import VLLMServerError

        try:
            outputs = self._engine.step()
        except VLLMServerError as error:
            self._asked.clear()
            raise UserError("vLLM's engine has stopped; its output above says why. --resume continues without losing a row.") from error
        for output in outputs:
            if output.finished and (asked := self._asked.pop(output.request_id, None)):
                asked.reply = self._reply(output, asked.candidates, time.perf_counter() - asked.start)

    def _reply(self, output: Any, candidates: Labels, seconds: float) -> Reply:
        said = output.outputs[0]
        ids = np.array(said.logprobs.token_ids).reshape(-1, 1 + TOP)  # at each place the chosen one, then the likeliest
        logprobs = np.array(said.logprobs.logprobs, dtype=np.float32).reshape(ids.shape)
        length = len(ids) - (said.finish_reason == "stop")  # the end of the turn is no part of the response
        ids[np.isin(ids, self._vision_tokens)] = -1
        pieces = self._token_bytes.pieces(ids[:length, 0].tolist())
        tokens = Tokens(
            pieces,
            tuple(logprobs[:length, 0].tolist()),
            Likeliest(ids[:length], logprobs[:length], self._token_bytes),
            rollout_temperature=self.rollout_temperature,
        )
        usage = Usage(len(output.prompt_token_ids), len(ids))
        return Reply(b"".join(pieces).decode(errors="replace"), seconds, tokens, usage)


def _start(settings: dict[str, Any]) -> Any:
    """The engine. Its log goes to stderr, as rows may go to stdout."""
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    try:
        from vllm import EngineArgs, LLMEngine
        from vllm.exceptions import VLLMError
        from vllm.platforms import current_platform
    except ImportError as error:
        raise missing_packages("vllm", "a model named vllm:ID", error) from error
    usual = "float32" if current_platform.is_cpu() else "bfloat16"
    try:
        return LLMEngine.from_engine_args(EngineArgs(**{"dtype": usual} | settings))
    except VLLMError as error:
        raise ValueError(str(error)) from error


def _image_settings(images: Any) -> dict[str, Any]:
    """The pixel or tile limits of an image processor, as vLLM's `mm_processor_kwargs`."""
    if (least := getattr(images, "min_patches", None)) is not None:
        return {"min_patches": least, "max_patches": images.max_patches}
    return {"size": {"shortest_edge": images.size.shortest_edge, "longest_edge": images.size.longest_edge}}
