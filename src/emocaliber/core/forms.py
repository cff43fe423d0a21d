"""Rows of other tools as the rows that training takes: one detection of a file's form, and one reader for each form.

| form | the dialogue | the image |
|---|---|---|
| ms-swift, TRL with `messages` | `messages`: roles `system`, `user`, `assistant` | `images`, or parts of a message |
| TRL | `prompt` and perhaps `completion`: messages or text | `images` or `image`, or parts of a message |
| LLaMA-Factory (ShareGPT) | `conversations`: `from` (human, gpt), `value` | `images` |
| verl | `prompt`; the true label in `reward_model.ground_truth` | `images` |
| the paper's released files | `conversations`: `role`, `content` | a part of a message |

A row of any of these is one question about one image, and perhaps its answer. What a row does not say is taken from what it does: the
candidates from its task, or from the list in its question; the task from its candidates and the folders of its image; the true label from
its answer, unless that states a confidence, as the answers of stage 2 may be wrong; the split from the file's name: "test" if it says so
(`test_8k.jsonl`), else "train".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from emocaliber.core.response import Response, in_five_steps, parse
from emocaliber.core.samples import Fields, Sample
from emocaliber.core.tasks import CUSTOM_TASK, TASKS, canonical_task, labels_of, nearly, taxonomy_of
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.io.plugins import Registry
from emocaliber.io.row_formats import Place
from emocaliber.io.rows import Row, display_name

Placed = tuple[Place, Row]

OWN = "EmoCaliber"
_OWN_FIELDS = ("id", "image", "task", "candidates", "ground_truth", "source", "split")
_TRUTHS = ("ground_truth", "solution", "label")  # the fields in which trainers keep the true label
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant"}  # of ShareGPT; other roles are called as in chats
_PLACEHOLDER = "<image>"
_LISTED = re.compile(r"\[([^\[\]]*)\]")
_OF_TEST = re.compile(r"(?<![a-z])test(?![a-z])", re.IGNORECASE)  # the name of a file whose rows name no split
_ANSWER = re.compile(r"<answer>([^<>]*)</answer>")


class Misfit(Exception):
    """A row that is not of its form; the message says what was found and what was expected."""


@dataclass(frozen=True)
class Dialogue:
    """One question about one image, and the answer to it, None where the row has none. `system` is empty without a system prompt."""

    question: str
    answer: str | None
    image: str
    system: str = ""


@dataclass(frozen=True)
class Form:
    """A form of rows: its name, what its rows have (for people), whether a row is of it, and its dialogue (None: rows stay as they are).

    `dialogue` raises `Misfit` for a row that has none.
    """

    name: str
    has: str
    fits: Callable[[Row], bool]
    dialogue: Callable[[Row], Dialogue] | None = None

    def read(self, rows: Iterable[Placed]) -> Iterator[Placed]:
        """The rows as sample rows, in their order; those of our own form unchanged. `question` and `response` are the dialogue's.

        Raises UserError, naming file, line and what was expected, for a row that is not of this form, or from which no sample can be made.
        """
        for place, row in rows:
            if self.dialogue is None:
                yield place, row
                continue
            try:
                yield place, _sample_row(row, self.dialogue(row), place)
            except Misfit as error:
                raise UserError(f"{place}: {error}; a row of {self.name} has {self.has}") from None
            except UserError as error:
                raise UserError(f"{place}: {error}") from error


FORMS: Registry[Form] = Registry("form of rows")


def add_form(form: Form) -> Form:
    """Adds a form to `FORMS`, and returns it. The first one that fits a file's first row is the file's."""
    return FORMS.add(form.name, form)


def form_of(row: Row, where: str) -> Form:
    """The form of a row. Raises UserError, naming the fields found and those of all forms, for a row that is of none."""
    for form in FORMS.values():
        if form.fits(row):
            return form
    found = ", ".join(display_name(str(field)) for field in row) or "none"
    known = "; ".join(f"{form.name}: {form.has}" for form in FORMS.values())
    raise UserError(f"{where}: these fields are of no form that can be trained on ({found}); the forms are {known}")


def image_file(path: str, folder: Path, images: Path | None = None) -> str:
    """The absolute path of a row's image: relative paths start from `images`, by default from the `folder` of the row's file.

    With `images`, an absolute path that is not there (of the machine where the rows were made) is looked for below it: by all of its
    folders, then without the first, and so on. It is returned as it is where nothing is found.
    """
    if not PurePath(path).is_absolute():
        return str((images or folder).absolute() / path)
    if images is not None and not Path(path).exists():
        parts = PurePath(path).parts[1:]
        tails = (images.absolute().joinpath(*parts[start:]) for start in range(len(parts)))
        return str(next((tail for tail in tails if tail.is_file()), path))
    return path


# From a row to its dialogue.


def _in_field(*names: str) -> Callable[[Row], Dialogue]:
    """Reads the dialogue whose messages are in these fields, one after the other."""

    def read(row: Row) -> Dialogue:
        turns: list[Mapping[str, Any]] = []
        for name, role in zip(names, ("user", "assistant"), strict=False):
            turns += _messages(row, name, role, needed=name == names[0])
        if system := row.get("system"):  # LLaMA-Factory keeps it beside the dialogue
            turns.insert(0, {"role": "system", "content": system})
        return _dialogue(turns, row)

    return read


def _messages(row: Row, name: str, role: str, *, needed: bool) -> list[Mapping[str, Any]]:
    value = row.get(name)
    if value is None and not needed:
        return []
    if isinstance(value, str) and name in ("prompt", "completion"):
        return [{"role": role, "content": value}]
    if isinstance(value, Mapping):
        value = [value]
    if not (isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value)):
        raise Misfit(f"field '{name}' is {_shown(value)}, not a list of messages")
    return value


def _dialogue(messages: list[Mapping[str, Any]], row: Row) -> Dialogue:
    turns = [_turn(message) for message in messages]
    system = "".join(text for role, text, _, _ in turns if role == "system")
    spoken = [turn for turn in turns if turn[0] != "system"]
    roles = [role for role, *_ in spoken]
    if roles not in (["user"], ["user", "assistant"]):
        raise Misfit(f"its turns are {', '.join(roles) or 'none'}, not a question (user) and at most one answer (assistant)")
    images = [path for *_, paths, _ in spoken for path in paths] or _images(row)
    placeholders = sum(count for *_, count in spoken)
    if len(images) != 1:
        raise Misfit(f"it has {len(images) or 'no'} image{'s' * (len(images) > 1)}, where a question is about one")
    if placeholders > 1:
        raise Misfit(f"its messages have room for {placeholders} images, and there is 1")
    question, answer = spoken[0][1].strip(), spoken[1][1].strip() if len(spoken) > 1 else None
    if not question:
        raise Misfit("its question is empty")
    return Dialogue(question, answer or None, images[0], system)


def _turn(message: Mapping[str, Any]) -> tuple[str, str, list[str], int]:
    """The role of a message, its text, the images that it holds, and the number of images that it has room for."""
    role = message.get("role") or message.get("from")
    content = message.get("content", message.get("value"))
    if not isinstance(role, str):
        raise Misfit(f"a message has no role: {_shown(dict(message))}")
    role = _ROLES.get(role, role)
    if role not in ("system", "user", "assistant"):
        raise Misfit(f"a message has the role {role!r}; roles are system, user and assistant")
    if isinstance(content, str):
        return role, content.replace(_PLACEHOLDER, ""), [], content.count(_PLACEHOLDER)
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise Misfit(f"the content of a message is {_shown(content)}, neither text nor a list of parts")
    texts = [str(part["text"]) for part in content if part.get("text") is not None]
    pictures = [part for part in content if part.get("type") in ("image", "image_url") or part.get("image") is not None]
    paths = [path for part in pictures if (path := _path(part.get("image") or part.get("image_url") or part.get("path"))) is not None]
    text = "".join(texts)
    return role, text.replace(_PLACEHOLDER, ""), paths, len(pictures) + text.count(_PLACEHOLDER)


def _images(row: Row) -> list[str]:
    value = row["images"] if row.get("images") is not None else row.get("image", row.get("file_name"))
    values = value if isinstance(value, list) else [] if value is None else [value]
    paths = [_path(each) for each in values]
    if wrong := next((each for each, path in zip(values, paths, strict=True) if path is None), None):
        raise Misfit(f"its image is {_shown(wrong)}, not the path of a file")
    return [path for path in paths if path is not None]


def _path(value: object) -> str | None:
    """The path in an image's entry: a text, or a table with a path."""
    if isinstance(value, Mapping):
        value = value.get("path") or value.get("url")
    return value.removeprefix("file://") if isinstance(value, str) and value.strip() else None


# From a dialogue to a sample row.


def _sample_row(row: Row, talk: Dialogue, place: Place) -> Row:
    """The sample row of a dialogue, with what it says no word of. Raises `Misfit` if candidates or a true label cannot be found."""
    stated = row.get("candidates")
    listed = [str(label) for label in stated] if isinstance(stated, list) and stated else listed_labels(talk.question)
    name = row.get("task") or (task_of_labels(listed, talk.image) if listed else None)
    if not isinstance(name, str):
        raise Misfit("nothing gives the candidates: it has neither 'task' nor 'candidates', and its question lists none in [brackets]")
    known = taxonomy_of(name)
    if not listed and known is None:
        meant = f" (did you mean {close}?)" if (close := nearly(name, TASKS)) else ""
        raise Misfit(f"there is no task {name!r}{meant}, and no 'candidates'")
    labels = labels_of(name, listed or list(known.labels if known else ()))
    kept = {field: value for field, value in row.items() if field not in _TAKEN and value is not None}
    kept["id"] = f"{place.file.stem}/{place.number:05}" if row.get("id") is None else str(row["id"])
    split = "test" if _OF_TEST.search(place.file.stem) else "train"
    filled = {"split": split, **kept, "image": talk.image, "task": canonical_task(name), "candidates": list(labels)}
    filled |= {"ground_truth": _truth(row, talk.answer, labels), "question": talk.question}
    filled.setdefault("source", canonical_task(name).rpartition("-")[0].casefold() or name)
    if talk.answer is not None:
        filled["response"] = talk.answer
    return filled


_TAKEN = ("messages", "conversations", "prompt", "completion", "images", "image", "file_name", "system", "reward_model", *_TRUTHS)


def listed_labels(question: str) -> list[str]:
    """The candidates in a question's text, such as those of "Choose one from ['awe', 'fear']."; empty if it lists none."""
    for found in _LISTED.finditer(question):
        labels = [label.strip(" \t\n'\"") for label in found[1].split(",")]
        if len(labels) > 1 and all(labels):
            return labels
    return []


def task_of_labels(labels: Iterable[str], image: str) -> str:
    """The task of VECBench with these labels: the one whose data set the image's path names, else the first. "custom" if there is none.

    Tasks with the same labels (EmoSet-8 and FI-8) have the same question, spellings and emotion loop, so training is the same.
    """
    given = list(labels)
    same = [name for name, each in TASKS.items() if len(given) == len(taxonomy(each.taxonomy).labels) and _are(given, name)]
    named = re.split(r"[^a-z0-9]+", image.casefold().replace("emotion_dataset", "fi"))
    ours = (name for name in same if any(part.startswith(name.rpartition("-")[0].casefold()) for part in named))
    return next(ours, same[0] if same else CUSTOM_TASK)


def _are(labels: list[str], task: str) -> bool:
    known = taxonomy_of(task)
    return known is not None and {known.canonical(label) for label in labels} == set(known.labels)


def _truth(row: Row, answer: str | None, labels: Labels) -> str | None:
    """The true label; None for an answer that states a confidence where the row names no truth, as it may be wrong."""
    reward = row.get("reward_model")
    given = [reward.get("ground_truth") if isinstance(reward, Mapping) else None, *(row.get(field) for field in _TRUTHS)]
    stated = next((each for each in given if each is not None), None)
    if stated is not None:
        text = found[1] if isinstance(stated, str) and (found := _ANSWER.search(stated)) else stated
        label = labels.named(text) if isinstance(text, str) else None
        if label is None:
            raise Misfit(f"its true label is {_shown(stated)}, which is not one of the candidates {', '.join(labels)}")
        return label
    if answer is None:
        raise Misfit(f"nothing gives the true label: it has no answer, and none of the fields {', '.join(_TRUTHS)}")
    response = parse(answer, labels, lenient=True)
    if not isinstance(response, Response):
        found = _ANSWER.search(answer)
        label = labels.named(found[1] if found else answer)
        if label is None:
            raise Misfit(f"its answer names no candidate as the true label ({response.detail})")
        return label
    return response.answer if response.confidence is None else None


def checked(row: Row, where: str) -> Row:
    """The row with the fields of a sample, in the spelling of its candidates. Raises UserError as `Sample.from_row` does.

    A row without a true label whose answer states a confidence (of the released stage-2 file) is one too: its `ground_truth` is None.
    """
    if "image" not in row and isinstance(row.get("file_name"), str):  # an imagefolder of Hugging Face
        row = {**row, "image": row["file_name"]}
    if "ground_truth" in row and row["ground_truth"] is None and states_confidence(row):
        candidates = Fields(row, where).labels("candidates", taxonomy_of(str(row.get("task"))))
        sample = Sample.from_row({**row, "ground_truth": candidates[0]}, where)  # whatever else is wrong is said
        return row | sample.to_row() | {"ground_truth": None}
    return row | Sample.from_row(row, where).to_row()


def states_confidence(row: Row) -> bool:
    """Whether the row's response is in the five steps and states a confidence."""
    text = row.get("response")
    return isinstance(text, str) and "<confidence>" in text and in_five_steps(text)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# The forms, in the order in which they are tried.


def _has_messages(field: str, key: str) -> Callable[[Row], bool]:
    def has(row: Row) -> bool:
        value = row.get(field)
        return isinstance(value, list) and any(isinstance(each, Mapping) and each.get(key) is not None for each in value)

    return has


add_form(
    Form(
        "verl",
        "prompt (a message with <image>), images (one path) and reward_model.ground_truth",
        lambda row: "prompt" in row and isinstance(row.get("reward_model"), Mapping),
        _in_field("prompt"),
    )
)
add_form(
    Form(
        "TRL",
        "prompt (messages with the question), completion in stage 1, images or image (one path), and ground_truth in stages 2 and 3",
        lambda row: row.get("prompt") is not None,
        _in_field("prompt", "completion"),
    )
)
add_form(
    Form(
        "ms-swift",
        "messages (user, then assistant in stage 1) and images (one path), and ground_truth (or solution) where no answer tells it",
        lambda row: "messages" in row,
        _in_field("messages"),
    )
)
add_form(
    Form(
        "LLaMA-Factory",
        "conversations (from human, then from gpt in stage 1) and images (one path), and ground_truth where no answer tells it",
        _has_messages("conversations", "from"),
        _in_field("conversations"),
    )
)
add_form(
    Form(
        "the released evaluation",
        "conversations (role user, with an image in its content), task, ground_truth and candidates",
        lambda row: "conversations" in row,
        _in_field("conversations"),
    )
)
add_form(
    Form(
        OWN,
        "id, image, task, candidates, ground_truth, source, split, and response in stage 1",
        lambda row: len(row.keys() & {*_OWN_FIELDS, "file_name"}) > 1,
    )
)
