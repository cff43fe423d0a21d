"""A prompt of one's own, made in code (one of fixed words is easier as a TOML file: `--prompt mine.toml`).

emocaliber respond samples.jsonl --model tiny --prompt brief --plugin examples/plugins/own_prompt.py --out run
"""

from emocaliber.core.prompts import PROMPTS, Prompt


def write(candidates, noun, confidence):
    form = "<answer>{label}</answer>" + ("<confidence>{0.00 to 1.00}</confidence>" if confidence else "")
    return f"Which {noun}: {' or '.join(candidates)}? Reply {form}"


PROMPTS.add("brief", Prompt("brief", "this example", True, write))
