"""A metric of one's own: the mean confidence less the accuracy. It stands in metrics.json, with its interval, and in the tables.

emocaliber score answers.jsonl --plugin examples/plugins/own_metric.py --out run
"""

from emocaliber.evaluation.metrics import ratio
from emocaliber.evaluation.stated import metric


@metric("overconfidence", bounds=(-1.0, 1.0))
def overconfidence(tally):
    return ratio((tally.count * tally.values).sum(axis=-1) - tally.rights, tally.n)
