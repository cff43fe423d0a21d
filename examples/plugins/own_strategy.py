"""A strategy of one's own: every question is asked about the mirrored picture. It is switched on in a run file:

model = "tiny"
[strategy]
mirrored = true

emocaliber respond samples.jsonl --config run.toml --plugin examples/plugins/own_strategy.py --out run
"""

from dataclasses import replace

from PIL import ImageOps

from emocaliber.models.strategies import STRATEGIES, Wrapper


class Mirrored(Wrapper):
    def answer(self, requests):
        return self.model.answer(replace(request, image=ImageOps.mirror(request.image)) for request in requests)


@STRATEGIES.register("mirrored")
def mirrored(model, strategy, lenient):
    return Mirrored(model) if strategy.further.get("mirrored") else model
