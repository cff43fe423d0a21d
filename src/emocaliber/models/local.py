"""`LocalModel`: checkpoints through transformers, in batches, on a GPU or a CPU."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForImageTextToText
from transformers.utils.logging import disable_progress_bar

from emocaliber.core.model import ModelError, Reply, Request, Tokens, Usage, mixed_seed
from emocaliber.core.response import Malformed, parse
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.models.card import COMMITS_AFTER, WORDING, DescribedByCard, notice_of, read_card
from emocaliber.models.constrained import ConstrainedDecoding, Grammar, Vocabulary, answer_only, five_steps, worded
from emocaliber.models.decode import Part, decode
from emocaliber.models.lite.readout_shares import readout_shares, readouts_of
from emocaliber.models.patches import embed_patches_by_product
from emocaliber.models.processor import collate, load_processor
from emocaliber.models.shipped import SHIPPED
from emocaliber.models.step import Step
from emocaliber.models.taught import TaughtQuestions
from emocaliber.models.tokens import Likeliest, Recorder, Sampler, TokenBytes, first_tokens

_RETRY_TEMPERATURE = 0.7
_VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
_SMALL, _THREADS_OF_SMALL_MODELS = 100_000_000, 4  # parameters, threads
_BATCH = 32
_BATCHES_PER_WINDOW = 4  # enough to batch prompts of similar length; one window is in memory at a time


def chat_prompt(question: str, tokenizer: Any) -> str:
    """The prompt text: one user turn with one image and the question, up to the start of the answer."""
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return str(tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True))


@dataclass(frozen=True)
class _Prompt:
    """A preprocessed request: the model inputs, the decoding settings, and the seconds of preprocessing. The image is not kept."""

    inputs: Mapping[str, torch.Tensor]
    candidates: Labels
    temperature: float
    limit: int
    seed: int
    seconds: float

    @property
    def length(self) -> int:
        """The length in tokens, image tokens included."""
        return self.inputs["input_ids"].shape[1]

    def again(self, attempt: int) -> _Prompt:
        """The same prompt for another attempt: sampled, with another seed."""
        return replace(self, temperature=self.temperature or _RETRY_TEMPERATURE, seed=mixed_seed(self.seed, attempt), seconds=0.0)


class LocalModel(DescribedByCard):
    """A checkpoint folder or hub id of Qwen2.5-VL, Qwen3-VL or InternVL: bfloat16 on a GPU, float32 on a CPU.

    Temperature 0 decodes greedily. Samples at a higher one depend on `seed` and the seed of the request, not on the batch. A request whose
    reply cannot be parsed is sampled again, up to `retries` times; measurements leave it at 0. `batch_size` is halved whenever memory runs
    out. `device` is cpu, cuda, cuda:N or mps; `threads` are those of the CPU (default: at most four for a small model). Unless `free`, the
    model can name no emotion but the candidates (see `constrained`). `min_pixels` and `max_pixels` are as in `load_processor`. Raises
    UserError for a checkpoint that cannot be loaded, and for a device that is not there.
    """

    window: int | None

    def __init__(
        self,
        folder: str | Path,
        *,
        batch_size: int = _BATCH,
        temperature: float = 0.0,
        retries: int = 0,
        seed: int = 0,
        max_new_tokens: int | None = None,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        device: str | None = None,
        threads: int | None = None,
        free: bool = True,
    ) -> None:
        if threads is not None and threads < 1:
            raise UserError(f"threads must be 1 or more, not {threads}")
        self._device = _available(device)
        dtype = torch.bfloat16 if self._device.startswith("cuda") else torch.float32
        disable_progress_bar()  # of loading weights, so that the first output is an answer
        try:
            self.processor = load_processor(folder, min_pixels=min_pixels, max_pixels=max_pixels)
            model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).to(self._device).eval()
        except (OSError, ValueError, ImportError) as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise UserError(
                f"cannot load a model from {folder}: {reason} Give a checkpoint folder, a hub id, or {' or '.join(SHIPPED)}."
            ) from error
        self._model = embed_patches_by_product(model)
        small = self._device == "cpu" and _is_small(self._model)
        self._step = Step.of(self._model) if small else None
        self._settle(read_card(folder), str(folder), batch_size, temperature, retries, seed, max_new_tokens, free, threads)

    @classmethod
    def of(
        cls,
        model: Any,
        processor: Any,
        *,
        card: dict[str, Any] | None = None,
        name: str = "loaded",
        batch_size: int = _BATCH,
        temperature: float = 0.0,
        retries: int = 0,
        seed: int = 0,
        max_new_tokens: int | None = None,
        free: bool = True,
    ) -> LocalModel:
        """A `LocalModel` around a loaded model, such as one in training, with the `card` of its checkpoint if it is to have one."""
        made = cls.__new__(cls)
        made.processor, made._model, made._device = processor, model, str(model.device)
        made._step = None  # as the weights may change
        made._settle(card or {}, name, batch_size, temperature, retries, seed, max_new_tokens, free=free, threads=None)
        return made

    @property
    def batch_size(self) -> int:
        """The most requests that are answered at a time."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, most: int) -> None:
        self._batch_size, self.window = most, self.window_of(most)

    @staticmethod
    def window_of(batch_size: int = _BATCH) -> int:
        """The window of a model with that `batch_size`."""
        return _BATCHES_PER_WINDOW * batch_size

    def _settle(
        self,
        card: dict[str, Any],
        name: str,
        batch_size: int,
        temperature: float,
        retries: int,
        seed: int,
        max_new_tokens: int | None,
        free: bool,
        threads: int | None,
    ) -> None:
        self.describe(card, name, constrained=not free)
        self._taught = TaughtQuestions.of(self)
        self.notice: str | None = notice_of(card, temperature)
        self._ours = bool(card)
        self.finished = 0  # requests answered so far, also those whose replies wait for earlier ones
        self._threads = threads or (_few_threads(self._model) if self._device == "cpu" else None)
        self.batch_size = batch_size
        self._temperature, self._retries, self._seed, self._free = temperature, retries, seed, free
        self._commits_after: tuple[str, ...] = tuple(card.get(COMMITS_AFTER, ()))
        self._wording = tuple(tuple(map(tuple, parts)) for parts in card.get(WORDING, ()))
        self._max_new_tokens: int = max_new_tokens or card.get("max_new_tokens", 1024)
        self._tokenizer = self.processor.tokenizer
        self._token_bytes = TokenBytes(self._tokenizer)
        self._ends = _ends(self._model, self._tokenizer)
        pad = self._tokenizer.pad_token_id
        self._pad: int = self._ends[0] if pad is None else pad
        self._never = vision_tokens(self._model.config, self._tokenizer)

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Replies in order. Within each `window` of requests, those of similar length are batched together."""
        pending = iter(requests)
        while window := list(self._prepared(islice(pending, self.window))):
            yield from self._answer_window(window)

    def _prepared(self, requests: Iterable[Request]) -> Iterator[_Prompt | Reply]:
        """The preprocessed requests; an error reply for one that cannot be. One that asks the same as the last has the same inputs."""
        last: tuple[Any, str] = None, ""
        inputs: dict[str, torch.Tensor] = {}
        for request in requests:
            start = time.perf_counter()
            if last[0] is not request.image or last[1] != request.question:
                try:
                    inputs = self._inputs(request)
                except ValueError as error:  # such as the sides of an image being too far apart
                    problem = ModelError("bad_request", f"the image cannot be given to the model: {error}")
                    yield Reply("", time.perf_counter() - start, error=problem)
                    continue
                last = request.image, request.question
            temperature = self._temperature if request.temperature is None else request.temperature
            limit, seed = request.max_new_tokens or self._max_new_tokens, mixed_seed(self._seed, request.seed)
            if not self._free:  # labels that the model was never taught may take more tokens than its responses leave for them
                limit += 2 * max((len(label.encode()) for label in request.candidates), default=0)
            yield _Prompt(inputs, request.candidates, temperature, limit, seed, time.perf_counter() - start)

    def _inputs(self, request: Request) -> dict[str, torch.Tensor]:
        text = chat_prompt(request.question, self._tokenizer)
        made = self.processor(images=[request.image], text=[text], return_tensors="pt")
        return {name: each.to(self._model.dtype) if each.is_floating_point() else each for name, each in made.items()}

    def _answer_window(self, window: Sequence[_Prompt | Reply]) -> Iterator[Reply]:
        replies = {place: reply for place, reply in enumerate(window) if isinstance(reply, Reply)}
        asked = [(place, prompt) for place, prompt in enumerate(window) if isinstance(prompt, _Prompt)]
        asked.sort(key=lambda each: (each[1].limit, each[1].length))
        batches = [asked[start : start + self._batch_size] for start in range(0, len(asked), self._batch_size)]
        following = 0
        for batch in sorted(batches, key=lambda batch: min(place for place, _ in batch)):  # in the order of their first request
            answers = self._answer_readably([prompt for _, prompt in batch])
            self.finished += len(batch)
            replies.update(zip((place for place, _ in batch), answers, strict=True))
            while following in replies:
                yield replies.pop(following)
                following += 1
        yield from (replies[place] for place in sorted(replies))

    def _answer_readably(self, batch: Sequence[_Prompt]) -> list[Reply]:
        replies = self._answer_batch(batch)
        for attempt in range(2, self._retries + 2):
            unread = [place for place, reply in enumerate(replies) if self._cannot_be_read(reply, batch[place].candidates)]
            for place, reply in zip(unread, self._answer_batch([batch[place].again(attempt) for place in unread]), strict=True):
                earlier = replies[place]
                # If neither can be parsed, the first is kept: it shows best what went wrong.
                kept = earlier if self._cannot_be_read(reply, batch[place].candidates) else reply
                replies[place] = replace(kept, attempts=attempt, seconds=earlier.seconds + reply.seconds)
        return replies

    def _cannot_be_read(self, reply: Reply, candidates: Labels) -> bool:
        """Whether the reply cannot be parsed. Checkpoints trained here must keep to the five steps; others may answer freely."""
        return bool(candidates) and isinstance(parse(reply.text, candidates, lenient=not self._ours), Malformed)

    def _answer_batch(self, batch: Sequence[_Prompt]) -> list[Reply]:
        """The replies of a batch, which is split where it does not fit in memory."""
        replies: list[Reply] = []
        while len(replies) < len(batch):
            part = batch[len(replies) :][: self._batch_size]
            try:
                replies += self._generate(part)
                continue
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    sentence = f"out of memory with a single image on {self._device}; give a smaller max_pixels or max_new_tokens"
                    raise UserError(sentence) from error
            # Not inside `except`: the error keeps the tensors that filled the memory alive.
            self._batch_size = len(part) // 2
            print(f"out of memory with a batch of {len(part)} images; continuing with {self._batch_size}", file=sys.stderr)
            torch.cuda.empty_cache()
        return replies

    def _generate(self, batch: Sequence[_Prompt]) -> list[Reply]:
        start = time.perf_counter()
        asked = {id(prompt.inputs): prompt.inputs for prompt in batch}  # prompts that are asked several times are read once
        places = {number: place for place, number in enumerate(asked)}
        inputs = {name: each.to(self._device) for name, each in collate(list(asked.values()), self._pad).items()}
        recorder = Recorder(self._watched(batch).to(self._device))
        limits = [prompt.limit for prompt in batch]
        parts: list[Part] = [recorder]
        if not self._free:
            parts.append(ConstrainedDecoding([self._grammar(prompt.candidates) for prompt in batch], limits, self._vocabulary))
        if any(prompt.temperature for prompt in batch):
            parts.append(Sampler([prompt.temperature for prompt in batch], [prompt.seed for prompt in batch], self._device))
        rows = [places[id(prompt.inputs)] for prompt in batch]
        with _threads(self._threads), readouts_of(self._model) as readouts:
            decode(self._model, inputs, rows, parts, limits=limits, ends=self._ends, never=self._never, step=self._step)
        ids, logprobs = recorder.finish()
        seconds = (time.perf_counter() - start) / len(batch)
        replies = [self._reply(*row, seconds) for row in zip(batch, ids, logprobs, strict=True)]
        if not readouts:
            return replies
        shares = readout_shares(torch.cat(readouts)[rows], [prompt.candidates for prompt in batch])
        return [replace(reply, readout=each) for reply, each in zip(replies, shares, strict=True)]

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._token_bytes, len(self._tokenizer), self._ends, self._never)

    def _grammar(self, candidates: Labels) -> Grammar | None:
        if not candidates:
            return None
        if not self._ours:
            return answer_only(candidates)
        guessed = self._taught is not None and self._taught.fixed and not self._taught.covers(candidates)
        if self._wording:
            return worded(candidates, self._wording, brief=guessed)
        return five_steps(candidates, self._commits_after, brief=guessed)

    def _watched(self, batch: Sequence[_Prompt]) -> torch.Tensor:
        """The first tokens of each row's candidates, (rows, most tokens of any row), padded with -1."""
        sets = {prompt.candidates for prompt in batch}
        firsts = {names: torch.tensor(first_tokens(names, self._tokenizer), dtype=torch.long) for names in sets}
        return pad_sequence([firsts[prompt.candidates] for prompt in batch], batch_first=True, padding_value=-1)

    def _reply(self, prompt: _Prompt, ids: Any, logprobs: Any, seconds: float) -> Reply:
        said: list[int] = ids[: prompt.limit, 0].tolist()
        length = next((place for place, token in enumerate(said) if token in self._ends), len(said))
        pieces = self._token_bytes.pieces(said[:length])
        tokens = Tokens(
            pieces,
            tuple(logprobs[:length, 0].tolist()),
            Likeliest(ids[:length], logprobs[:length], self._token_bytes),
            rollout_temperature=self.rollout_temperature,
        )
        usage = Usage(prompt.length, min(length + 1, len(said)))
        return Reply(b"".join(pieces).decode(errors="replace"), seconds + prompt.seconds, tokens, usage)


def _available(device: str | None) -> str:
    """The device called `device`, by default a GPU of NVIDIA or AMD, or else the CPU. Raises UserError for one that is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device is None:
        return "cuda" if there["cuda"] else "cpu"
    kind, _, number = device.partition(":")
    if kind not in there or (number and not number.isdecimal()):
        raise UserError(f"there is no device {device!r}; give one of {', '.join(there)}, or one GPU of several as cuda:1")
    if not there[kind] or (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        seen = ", ".join(name for name in there if there[name])
        raise UserError(f"the device {device} is not available; PyTorch {torch.__version__} finds: {seen}")
    return device


def _few_threads(model: Any) -> int | None:
    """The number of threads for a small model, which more would slow down; None (PyTorch's own) for others, or if the user set it."""
    if "OMP_NUM_THREADS" in os.environ or not _is_small(model):
        return None
    return min(torch.get_num_threads(), _THREADS_OF_SMALL_MODELS)


def _is_small(model: Any) -> bool:
    return bool(sum(each.numel() for each in model.parameters()) <= _SMALL)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """PyTorch's number of threads, for as long as the model works."""
    before = torch.get_num_threads()
    if count and count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count and count != before:
            torch.set_num_threads(before)


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a turn."""
    named = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return sorted(token for token in ends if token is not None)


def vision_tokens(config: Any, tokenizer: Any) -> list[int]:
    """The tokens that stand for images and videos in prompts; they are never generated."""
    named = {tokenizer.convert_tokens_to_ids(token) for token in _VISION_TOKENS} - {tokenizer.unk_token_id}
    configured = {getattr(config, f"{name}_token_id", None) for name in ("image", "video", "vision_start", "vision_end")}
    return sorted(token for token in named | configured if token is not None)
