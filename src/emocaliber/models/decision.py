"""`decision.json` and its template: a checkpoint asked for a decision, which is read from one forward pass and without its reasoning.

transformers' `pipeline("decision")` and the System One servers that read these files take the next-token logits of one token for each
option, by its place among the options. So a folder can hold one choice, whose options are the labels of one task in their order, and one
yes-or-no question, positive against negative; the template refuses all others. The form is that of `DecisionConfig` of transformers 5.23.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emocaliber.core.prompts import EMOCALIBER
from emocaliber.models.local import chat_prompt

if TYPE_CHECKING:
    from transformers.decision import DecisionConfig

DECISION_FILES = ("decision.json", "decision_template.jinja")
MARK = "<|mark|>"  # where the logits are read
# How the response begins that names the emotion at once, and what stands before the label then.
OPENINGS = {"answer": ("<answer>", ""), "analysis": ("<think><analysis>It evokes", " "), "sentence": ("It evokes", " ")}

_TEMPLATE = """\
{%- macro look(value, found) -%}
  {%- if value is mapping -%}
    {%- if value.type is defined and value.type == "image" -%}{%- set found.images = found.images + 1 -%}
    {%- else -%}{%- for part in value.values() -%}{{ look(part, found) }}{%- endfor -%}{%- endif -%}
  {%- elif value is iterable and value is not string -%}{%- for part in value -%}{{ look(part, found) }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- set found = namespace(images=0) -%}
{{- look([state, question.instructions, question.descriptions], found) -}}
{%- if found.images != 1 -%}
  {{- raise_exception("This model looks at one picture: exactly one name of an asset must occur in the state or the question.") -}}
{%- endif -%}
"""


@dataclass(frozen=True)
class DecisionQuestion:
    """A question that a folder can be asked as a decision: a task with its labels; `kind` is "choice" or "noul", positive or not."""

    kind: str
    task: str
    labels: tuple[str, ...]

    def request(self, image: Any) -> dict[str, Any]:
        """The System One request that asks it about an image (a path or a Pillow image)."""
        criteria: dict[str, Any] = dict.fromkeys(self.labels)
        if self.kind == "noul":
            criteria = dict(zip(("true", "false"), self.labels, strict=True))
        asked = {"type": self.kind, "instructions": "Which emotion does it evoke?", "criteria": criteria}
        return {"state": "PICTURE", "questions": {"mood": asked}, "assets": {"PICTURE": image}}


def decision_config(
    questions: Sequence[DecisionQuestion], opening: str, tokenizer: Any, temperature: dict[str, float] | None = None
) -> DecisionConfig | None:
    """The settings with which these questions, at most one of each kind, are asked; None where a label has no token of its own.

    Raises ImportError for a transformers before 5.23.
    """
    from transformers.decision import DecisionConfig

    begin, lead = OPENINGS[opening]
    labels = {}
    for each in questions:
        if (tokens := _first_tokens([lead + label for label in each.labels], tokenizer)) is None:
            return None
        labels[each.kind] = tokens
    template = _template(questions, begin, tokenizer)
    return DecisionConfig(labels=labels, temperature=dict(temperature or {}), chat_template=template)


def _first_tokens(labels: Sequence[str], tokenizer: Any) -> list[str] | None:
    """The first token of each label as text; None if two labels share one, or one does not stand for itself."""
    firsts = [ids[0] for ids in tokenizer(list(labels), add_special_tokens=False)["input_ids"]]
    texts = [tokenizer.decode([first]) for first in firsts]
    again = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return texts if len(set(firsts)) == len(firsts) and again == [[first] for first in firsts] else None


def _template(questions: Sequence[DecisionQuestion], begin: str, tokenizer: Any) -> str:
    parts, can = [], []
    for each in questions:
        prompt = chat_prompt(EMOCALIBER.question(each.task, each.labels, confidence=True), tokenizer) + begin + MARK
        listed = json.dumps(list(each.labels), ensure_ascii=False)
        held = "question.options" if each.kind == "choice" else "question.descriptions"
        shown = ", ".join(each.labels)
        if each.kind == "choice":
            can.append(f"a choice among {shown}, in this order")
        else:
            can.append(f"a noul whose criteria are true: {each.labels[0]} and false: {each.labels[1]}")
        parts.append((f'question.type == "{each.kind}" and {held}|list == {listed}', prompt))
    refusal = json.dumps(f"Without its reasoning, this model can be asked {', or '.join(can)}.", ensure_ascii=False)
    text = _TEMPLATE
    for number, (condition, prompt) in enumerate(parts):
        text += f"{{%- {'elif' if number else 'if'} {condition} -%}}\n  {{{{- {json.dumps(prompt, ensure_ascii=False)} -}}}}\n"
    return f"{text}{{%- else -%}}\n  {{{{- raise_exception({refusal}) -}}}}\n{{%- endif -%}}\n"
