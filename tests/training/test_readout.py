"""The linear readout of a lite model: what it reads is what its readout row writes, and errors are those of unseen photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emocaliber.models.lite.vision import READOUT, pooled
from emocaliber.photographs.collection import Photograph, Ratings
from emocaliber.photographs.content import contents
from emocaliber.training.base.features import image_inputs
from emocaliber.training.base.readout import (
    TARGETS,
    Readout,
    Seen,
    cross_fitted_readings,
    fit_readout,
    pooled_features,
    targets_of,
    told_values,
)
from small_lite import small_lite

RNG = np.random.default_rng(0)
WIDTH = 12


def pictures(n: int = 120, views: int = 3, further: int = 0) -> Seen:
    """Views of pictures, and targets that are linear in the pictures' features, with noise; `further` features say nothing."""
    of_picture = RNG.normal(size=(n, WIDTH))
    targets = of_picture @ RNG.normal(size=(WIDTH, TARGETS)) + 0.5 * RNG.normal(size=(n, TARGETS))
    made = []
    for features, target in zip(of_picture, targets, strict=True):
        seen = features + 0.1 * RNG.normal(size=(views, WIDTH))
        made.append((np.concatenate([seen, RNG.normal(size=(views, further))], -1).astype(np.float32), target))
    return Seen.of(made)


def test_pooling_is_that_of_the_model() -> None:
    features = RNG.normal(size=(3, 4, 5)).astype(np.float16)
    ours = pooled_features(features)
    theirs = pooled(torch.from_numpy(features.reshape(1, 12, 5)).float())[0]
    assert np.allclose(ours, theirs.numpy(), atol=1e-3)


def test_what_is_not_known_of_a_photograph_is_no_target() -> None:
    dog = Photograph("dog", Path("dog.jpg"), contents()["dog"])
    assert np.isnan(targets_of(dog)[:4]).all() and np.isnan(targets_of(dog)[-2])
    assert targets_of(dog)[4:8].tolist() == [-1, 1, -1, -1], "an animal"
    assert targets_of(dog)[-1] == 1
    face = Photograph("face", Path("face.jpg"), contents()["face"], Ratings(0.5, -0.2, 1.0, 0.5), person=True)
    assert targets_of(face) == pytest.approx([0.5, -0.2, 0, np.log(0.5), 1, -1, -1, -1, 1, 1])
    assert np.isnan(targets_of(None)[:-1]).all() and targets_of(None)[-1] == -1


def test_a_readout_predicts_what_is_linear_and_knows_its_error() -> None:
    seen = pictures()
    known, new = seen.at(seen.picture < 80), seen.at(seen.picture >= 80)
    readout = fit_readout(known, 1.0)
    read = readout(new.pooled)
    assert all(np.corrcoef(read[:, target], new.targets[:, target])[0, 1] > 0.9 for target in range(TARGETS))
    assert readout.error == pytest.approx((read - new.targets)[:, :2].std(0), rel=0.4)


def test_a_target_is_learnt_from_the_pictures_of_which_it_is_known() -> None:
    seen = pictures()
    seen.targets[seen.picture >= 60, :4] = np.nan
    partly, wholly = fit_readout(seen, 1.0), fit_readout(seen.at(seen.picture < 60), 1.0)
    assert np.allclose(partly.weight[:, :4], wholly.weight[:, :4])
    assert not np.allclose(partly.weight[:, 4:], wholly.weight[:, 4:])


def test_cross_fitted_readings_err_as_on_unseen_photographs() -> None:
    seen = pictures(60, further=400)  # room to overfit
    crossed = cross_fitted_readings(seen, 0.01)
    inside = fit_readout(seen, 0.01)(seen.pooled)
    assert np.std(crossed - seen.targets, axis=0).min() > 3 * np.std(inside - seen.targets, axis=0).max()


def test_the_readout_row_of_a_model_reads_what_the_readout_does(tokenizer: Any) -> None:
    model, _ = small_lite(tokenizer, readout_row=True)
    visual = model.model.visual
    channels, side = visual.config.eyes_channels, visual.config.row
    readout = Readout(RNG.normal(size=(2 * channels, TARGETS)) / channels, RNG.normal(size=TARGETS))
    readout.put_into(visual.readout)
    features = RNG.normal(size=(5, side, side, channels)).astype(np.float16)
    inputs = image_inputs(torch.from_numpy(features), readout_row=True)
    read = visual(inputs["pixel_values"], inputs["image_grid_thw"]).readout.detach().numpy()
    expected = told_values(readout(np.stack([pooled_features(each) for each in features])))
    assert expected.shape == (5, len(READOUT))
    assert np.allclose(read, expected, atol=2e-3)


def test_what_a_model_is_told_takes_the_place_of_what_it_reads(tokenizer: Any) -> None:
    model, _ = small_lite(tokenizer, readout_row=True)
    visual = model.model.visual
    features = torch.from_numpy(RNG.normal(size=(2, visual.config.row, visual.config.row, visual.config.eyes_channels)))
    told = torch.tensor([[0.5, -0.2, 0.1, -1.0, -0.5, -1.6, *([1.0] * 6)], [0.0] * len(READOUT)])
    inputs = image_inputs(features, readout_row=True, told=told)
    alone = image_inputs(features, readout_row=True)
    heard = visual(inputs["pixel_values"], inputs["image_grid_thw"])
    read = visual(alone["pixel_values"], alone["image_grid_thw"])
    assert torch.allclose(heard.readout[0], told[0])
    assert torch.equal(heard.readout[1], read.readout[1]), "nothing was told"
    assert not torch.allclose(heard.pooler_output, read.pooler_output)
