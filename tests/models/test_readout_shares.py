"""What a lite model's eyes read of an image, as shares of people for the labels of a question."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from emocaliber.core.model import Request
from emocaliber.core.sources import confidences, evidence
from emocaliber.core.tasks import labels_of
from emocaliber.emotions.affect import label_distribution
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.models.lite.readout_shares import readout_shares, readouts_of
from emocaliber.models.local import LocalModel
from small_lite import small_lite

EIGHT = labels_of("EmoSet-8", taxonomy("mikels-8").labels)
TWO = labels_of("FI-2", ("positive", "negative"))
CARD = {"max_new_tokens": 200}  # of a checkpoint trained here, which keeps to the five steps
PLEASANT, UNPLEASANT = torch.zeros(12), torch.zeros(12)
PLEASANT[0], UNPLEASANT[0] = 0.4, -0.4


def test_a_pleasant_picture_is_positive_to_most_and_each_question_has_its_own_shares() -> None:
    pleasant, unpleasant, eight = readout_shares(torch.stack([PLEASANT, UNPLEASANT, PLEASANT]), [TWO, TWO, EIGHT])
    assert pleasant and unpleasant and eight
    assert pleasant["positive"] == pytest.approx(unpleasant["negative"]) and pleasant["positive"] > 0.9
    expected = label_distribution([[0.4, 0.0]], "mikels-8")[0]
    assert list(eight.values()) == pytest.approx(list(expected)) and list(eight) == list(EIGHT)


def test_some_labels_of_a_taxonomy_share_among_themselves() -> None:
    every, some = readout_shares(torch.stack([PLEASANT, PLEASANT]), [EIGHT, labels_of("EmoSet-8", ("sadness", "awe"))])
    assert every and some and some == pytest.approx({name: every[name] / (every["sadness"] + every["awe"]) for name in ("sadness", "awe")})


def test_nothing_is_known_of_labels_of_ones_own() -> None:
    assert readout_shares(torch.stack([PLEASANT]), [Labels.of(["cosy", "bleak"])]) == [None]


def test_a_reading_beyond_the_scale_is_the_end_of_it() -> None:
    far = PLEASANT.clone()
    far[:2] = 7.0
    (shares,) = readout_shares(far[None], [EIGHT])
    assert shares and np.isfinite(list(shares.values())).all()


@pytest.fixture(scope="module")
def lite(tokenizer: Any) -> tuple[Any, Any]:
    model, processor = small_lite(tokenizer, readout_row=True)
    with torch.no_grad():  # so that pictures are read differently
        model.model.visual.readout.read.weight.normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    return model, processor


def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (64, 64), colour) for colour in ("red", "navy", "white", "green", "black")]


def test_every_reply_has_the_shares_of_its_own_picture(lite: tuple[Any, Any]) -> None:
    model, processor = lite
    asked = [Request(picture, "Which?", labels) for picture, labels in zip(pictures(), (EIGHT, TWO, EIGHT, TWO, EIGHT), strict=True)]
    together = list(LocalModel.of(model, processor, max_new_tokens=40, free=False).answer(asked))
    alone = LocalModel.of(model, processor, max_new_tokens=40, free=False)
    for request, reply in zip(asked, together, strict=True):
        (again,) = alone.answer([request])
        assert reply.readout is not None and reply.readout == pytest.approx(again.readout, abs=1e-5)
        assert list(reply.readout) == list(request.candidates) and sum(reply.readout.values()) == pytest.approx(1)
    assert together[0].readout != pytest.approx(together[2].readout, abs=1e-3)  # or the order above would show nothing


def test_it_is_a_source_of_confidence_where_there_is_one(lite: tuple[Any, Any], tokenizer: Any) -> None:
    request = Request(pictures()[0], "Which?", EIGHT)
    (reply,) = LocalModel.of(*lite, card=CARD, max_new_tokens=200, free=False).answer([request])
    understood = evidence(reply, EIGHT)
    assert understood and reply.readout
    assert confidences(understood)["readout"] == reply.readout[understood.response.answer]
    (without,) = LocalModel.of(*small_lite(tokenizer), card=CARD, max_new_tokens=200, free=False).answer([request])
    assert without.readout is None and "readout" not in confidences(evidence(without, EIGHT))


def test_no_hook_is_left_behind(lite: tuple[Any, Any]) -> None:
    with pytest.raises(RuntimeError, match="while it looks"), readouts_of(lite[0]):
        raise RuntimeError("while it looks")
    assert not lite[0].model.visual._forward_hooks
