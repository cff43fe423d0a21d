"""Questions with labels that a model was never taught: how many answers cannot be read, and do answers to taught questions stay the same?

    python benchmarks/any_labels.py            # 2,000 questions to `tiny`: 500 random sets of labels, four pictures each

Sets have 2 to 25 labels: taught and untaught words, words of other scripts, words that begin alike, several words, signs. The last line of
standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path

from PIL import Image

import emocaliber.emotions as emotions
from emocaliber.core.tasks import TASKS
from emocaliber.predict.predictor import Query, load

WORDS = """
calm tense joyful joy joyous joyless joy-ride happy happiness unhappy sad sadness saddened glad gladness bored boredom bitter
bitterness bittersweet sweet nostalgic nostalgia melancholy mellow serene serenity eerie uncanny cosy hygge saudade
Schadenfreude Weltschmerz ennui déjà-vu naïveté Überraschung Ärger peur colère tristesse joie alegría tristeza miedo ira
радость грусть злость страх удивление спокойствие 喜び 怒り 悲しみ 驚き 快乐 悲伤 愤怒 恐惧 惊讶 기쁨 슬픔 분노
공포 ความสุข ความเศร้า ความโกรธ
فرح حزن غضب خوف שמחה עצב כעס χαρά λύπη θυμός आनन्द दुख क्रोध C++ c# :-) 😀 😢 😡 0 1 10 100 a ab abc abcd e é
""".split()  # noqa: SIM905
PHRASES = (
    "mixed feelings",
    "no feeling at all",
    "fear of missing out",
    "fear",
    "fear of heights",
    "the joy of small things",
    "I don't know",
    "a",
)


def label_set(rng: random.Random) -> list[str]:
    """Two to 25 different labels of any kind."""
    taught = [label for task in TASKS.values() for label in emotions.taxonomy(task.taxonomy).labels]
    while True:
        names = [rng.choice(rng.choice((WORDS, PHRASES, taught, WORDS))) for _ in range(rng.randint(2, 25))]
        try:
            return list(Query.of(labels=dict.fromkeys(names)).candidates)
        except Exception:  # two that are the same label, or only one
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, start = random.Random(args.seed), time.perf_counter()
    paths = sorted((Path(__file__).parents[1] / "examples" / "images").glob("*.png"))
    pictures = [Image.open(path).convert("RGB") for path in paths]
    predictor, free = load("tiny"), load("tiny", free=True, retries=0)

    codes: Counter[str] = Counter()
    untaught, asked = 0, 0
    for _ in range(args.sets):
        names = label_set(rng)
        query = Query.of(labels=names)
        for prediction in predictor.ask(rng.sample(pictures, 4), query):
            asked += 1
            codes[prediction.error.code if prediction.error else "answered" if prediction.emotion in names else "another label"] += 1
            untaught += bool(prediction.untaught)
    same = total = 0
    for task in ("EmoSet-8", "FI-8", "WebEmo-7", "WebEmo-25", "FI-2", "WebEmo-2"):
        for one, other in zip(predictor.ask(pictures, Query.of(task)), free.ask(pictures, Query.of(task)), strict=True):
            total += 1
            same += one.response == other.response and one.confidence == other.confidence
    found = {"questions": asked, **codes, "untaught": untaught, "taught": total, "taught_identical": same}
    print(
        f"{asked} questions in {time.perf_counter() - start:.0f} s: {dict(codes)}; taught questions with the same answer: {same} of {total}"
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
