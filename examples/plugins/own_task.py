"""A task of one's own: its labels with their families, other spellings and VAD values, so that it has aliases and an emotion loop.

emocaliber score answers.jsonl --plugin examples/plugins/own_task.py --out run
"""

from emocaliber.core.tasks import Task, add_task
from emocaliber.emotions import VAD, Taxonomy

moods = {"calm": VAD(0.7, -0.6, 0.3), "tense": VAD(-0.6, 0.7, -0.2), "joyful": VAD(0.9, 0.5, 0.5), "gloomy": VAD(-0.7, -0.5, -0.5)}
add_task(Task("Moods-4", None, Taxonomy("moods", tuple(moods), aliases={"relaxed": "calm"}, vad=moods)))
