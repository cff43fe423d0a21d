"""Qwen2.5-VL checkpoints through transformers, in batches, on whatever device there is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText
from transformers.utils.logging import disable_progress_bar

from emocaliber.errors import UserError
from emocaliber.models.base import Reply, Request
from emocaliber.models.processor import load_processor
from emocaliber.models.recording import Recorder, distribution, first_tokens, place_of_commitment, token_at
from emocaliber.response import Malformed, parse

CARD = "emocaliber.json"  # beside the weights: name, notice, tasks and decoding settings of a checkpoint of ours
_RETRY_TEMPERATURE = 0.7
_VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def chat_prompt(question: str, tokenizer: Any) -> str:
    """The text of one user turn with one image, ready for the answer."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return str(tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True))


class LocalModel:
    """A checkpoint folder or hub id. Temperature 0 decodes greedily; otherwise answers are sampled, the same ones for the same seed.

    With `retries`, a request whose reply cannot be read is asked that often again, sampled. Whoever measures a model leaves it at 0.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        batch_size: int = 32,
        temperature: float = 0.0,
        retries: int = 0,
        seed: int = 0,
        max_new_tokens: int | None = None,
        device: str | None = None,
    ) -> None:
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float32 if self._device == "cpu" else torch.bfloat16
        disable_progress_bar()  # of loading weights: a newcomer's first output should be an answer
        try:
            self._model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).to(self._device).eval()
            self.processor = load_processor(folder)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"cannot load a model from {folder}: {reason} Give a checkpoint folder, a hub id, or 'tiny'.") from error
        card_file = Path(folder) / CARD
        card: dict[str, Any] = json.loads(card_file.read_text(encoding="utf-8")) if card_file.is_file() else {}
        self.name: str = card.get("name", str(folder))
        self.notice: str | None = card.get("notice")
        self.tasks: tuple[str, ...] | None = tuple(card["tasks"]) if "tasks" in card else None
        self.batch_size = batch_size
        self._temperature, self._retries, self._seed = temperature, retries, seed
        self._max_new_tokens = max_new_tokens or card.get("max_new_tokens", 1024)
        self._tokenizer = self.processor.tokenizer
        self._tokenizer.padding_side = "left"
        self._suppressed = [i for i in self._tokenizer.convert_tokens_to_ids(list(_VISION_TOKENS)) if i is not None]

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Replies in order, `batch_size` at a time; what a batch samples depends on the seeds of the model and of its first request."""
        pending = iter(requests)
        for batch in iter(lambda: list(islice(pending, self.batch_size)), []):
            torch.manual_seed(self._seed * 1_000_003 + batch[0].seed)
            replies = self._answer_batch(batch, self._temperature)
            for attempt in range(2, self._retries + 2):
                unread = [place for place, reply in enumerate(replies) if _cannot_be_read(reply, batch[place])]
                again = self._answer_batch([batch[place] for place in unread], self._temperature or _RETRY_TEMPERATURE) if unread else []
                for place, reply in zip(unread, again, strict=True):
                    earlier = replies[place]
                    kept = earlier if _cannot_be_read(reply, batch[place]) else reply  # the first text says most about what went wrong
                    replies[place] = replace(kept, attempts=attempt, seconds=earlier.seconds + reply.seconds)
            yield from replies

    @torch.inference_mode()
    def _answer_batch(self, batch: list[Request], temperature: float) -> list[Reply]:
        start = time.perf_counter()
        candidates = sorted({name for request in batch for name in request.candidates})
        firsts = first_tokens(candidates, self._tokenizer)
        recorder = Recorder(firsts[False] + firsts[True])
        inputs = self.processor(
            images=[request.image for request in batch],
            text=[chat_prompt(request.question, self._tokenizer) for request in batch],
            padding=True,
            return_tensors="pt",
        ).to(self._device)
        sampling: dict[str, Any] = {"do_sample": False, "repetition_penalty": 1.0}
        if temperature:
            sampling |= {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        sequences = self._model.generate(
            **inputs, **sampling, max_new_tokens=self._max_new_tokens, suppress_tokens=self._suppressed, logits_processor=[recorder]
        )
        chosen, watched = recorder.finish(sequences)
        answers = sequences[:, inputs["input_ids"].shape[1] :].cpu()
        seconds = (time.perf_counter() - start) / len(batch)
        return [self._reply(*row, candidates, seconds) for row in zip(batch, answers, chosen, watched, strict=True)]

    def _reply(
        self, request: Request, row: torch.Tensor, chosen: torch.Tensor, watched: torch.Tensor, names: list[str], seconds: float
    ) -> Reply:
        tokenizer = self._tokenizer
        ends = (row == tokenizer.eos_token_id).nonzero()
        length = int(ends[0]) + 1 if len(ends) else len(row)
        ids: list[int] = row[:length].tolist()
        spoken = ids[:-1] if len(ends) else ids
        text: str = tokenizer.decode(spoken)
        probabilities = tuple(chosen[:length].exp().tolist())
        answer_probability, alternatives = None, None
        parsed = parse(text, request.candidates)
        if not isinstance(parsed, Malformed):
            place = text.index("<answer>") + len("<answer>")
            answer_probability = probabilities[token_at(place, spoken, tokenizer)]
            commitment = place_of_commitment(text, parsed.answer)
            step = token_at(commitment if commitment is not None else place, spoken, tokenizer)
            own = [names.index(name) for name in request.candidates]
            firsts = first_tokens(request.candidates, tokenizer)
            logps = watched[step][own + [len(names) + i for i in own]]
            alternatives = distribution(logps, spoken[step], request.candidates, firsts)
        return Reply(text, seconds, probabilities, answer_probability, alternatives)


def _cannot_be_read(reply: Reply, request: Request) -> bool:
    return isinstance(parse(reply.text, request.candidates), Malformed)
