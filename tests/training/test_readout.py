"""The linear readout of a lite model: what it reads is what its affect row writes, and errors are those of unseen photographs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from emocaliber.models.lite.vision import AFFECT, pooled
from emocaliber.training.base.features import image_inputs
from emocaliber.training.base.readout import Readout, cross_fitted_readings, fit_person, fit_readout, pooled_features
from small_lite import small_lite

RNG = np.random.default_rng(0)
WIDTH = 12


def rated(n: int = 120, views: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features of views, and targets that are linear in the photographs' mean features, with noise."""
    of_photograph = RNG.normal(size=(n, 1, WIDTH))
    features = of_photograph + 0.1 * RNG.normal(size=(n, views, WIDTH))
    weight = RNG.normal(size=(WIDTH, 4))
    return features, of_photograph[:, 0] @ weight + 0.5 * RNG.normal(size=(n, 4))


def test_pooling_is_that_of_the_model() -> None:
    features = RNG.normal(size=(3, 4, 5)).astype(np.float16)
    ours = pooled_features(features)
    theirs = pooled(torch.from_numpy(features.reshape(1, 12, 5)).float())[0]
    assert np.allclose(ours, theirs.numpy(), atol=1e-3)


def test_a_readout_predicts_what_is_linear_and_knows_its_error() -> None:
    features, targets = rated()
    readout = fit_readout(features[:80], targets[:80], 1.0)
    missed = readout(features[80:, 0])[:, :2] - targets[80:, :2]
    assert np.corrcoef(readout(features[80:, 0])[:, 0], targets[80:, 0])[0, 1] > 0.9
    assert readout.error == pytest.approx(missed.std(0), rel=0.4)


def test_cross_fitted_readings_err_as_on_unseen_photographs_do() -> None:
    features, targets = rated(60)
    features = np.concatenate([features, RNG.normal(size=(60, 3, 400))], -1)  # room to overfit
    crossed = cross_fitted_readings(features, targets, 0.01)
    inside = fit_readout(features, targets, 0.01)(features[:, 0])
    assert np.std(crossed[:, 0] - targets, axis=0).min() > 3 * np.std(inside - targets, axis=0).max()


def test_the_affect_row_of_a_model_reads_what_the_readout_does(tokenizer: Any) -> None:
    model, _ = small_lite(tokenizer, affect_row=True)
    visual = model.model.visual
    channels, side = visual.config.eyes_channels, visual.config.row
    readout = Readout(RNG.normal(size=(2 * channels, 4)) / channels, RNG.normal(size=4), (0.3, 0.2))
    readout.put_into(visual.affect)
    features = RNG.normal(size=(5, side, side, channels)).astype(np.float16)
    inputs = image_inputs(torch.from_numpy(features), affect_row=True)
    read = visual(inputs["pixel_values"], inputs["image_grid_thw"]).affect.detach().numpy()
    expected = readout.affect(np.stack([pooled_features(each) for each in features]))
    assert expected.shape == (5, len(AFFECT))
    assert np.allclose(read, expected, atol=2e-3)


def test_what_a_model_is_told_takes_the_place_of_what_it_reads(tokenizer: Any) -> None:
    model, _ = small_lite(tokenizer, affect_row=True)
    visual = model.model.visual
    features = torch.from_numpy(RNG.normal(size=(2, visual.config.row, visual.config.row, visual.config.eyes_channels)))
    told = torch.tensor([[0.5, -0.2, 0.1, -1.0, -0.5, -1.6], [0.0] * 6])
    inputs = image_inputs(features, affect_row=True, affect=told)
    alone = image_inputs(features, affect_row=True)
    heard = visual(inputs["pixel_values"], inputs["image_grid_thw"])
    read = visual(alone["pixel_values"], alone["image_grid_thw"])
    assert torch.allclose(heard.affect[0], told[0])
    assert torch.equal(heard.affect[1], read.affect[1]), "nothing was told"
    assert not torch.allclose(heard.pooler_output, read.pooler_output)


def test_persons_are_told_from_features() -> None:
    person = RNG.random(200) < 0.4
    features = RNG.normal(size=(200, 2, 300)) + person[:, None, None]
    model = fit_person(features[:150] * 3 + 7, person[:150])
    assert (model.predict(features[150:, 0] * 3 + 7) == person[150:]).mean() > 0.9
