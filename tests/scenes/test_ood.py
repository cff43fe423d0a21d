"""Out-of-distribution pictures: next to nothing in them tells the label, the template teacher says so, and every answer is about equally
often right."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emocaliber.core.response import parse, render
from emocaliber.core.tasks import task
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.io.images import open_image
from emocaliber.io.rows import read_rows
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS
from emocaliber.scenes.dataset import draw_samples
from emocaliber.scenes.drawing import ood
from emocaliber.scenes.drawing.ood import CHROMA, LIGHTNESS, with_tone
from emocaliber.scenes.out_of_domain import COLOUR_TONES, OOD_ELEMENT, OODScene, is_ood
from emocaliber.scenes.subtasks import SCENE_SUBTASKS, ood_subtask
from emocaliber.scenes.template_teacher import concepts_named

SIZE = 40


def ood_scene(tone: str) -> OODScene:
    return OODScene(OOD_ELEMENT.key, tone)


def painted(name: str, index: int) -> bytes:
    subtask = ood_subtask(name)
    rng = subtask.generator(0, index)
    picture = subtask.draw(subtask.choose(index, rng), rng, SIZE)
    assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE))
    return picture.tobytes()


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.1, 100), (0.25, 250), (1.0, 1000)])
def test_the_share_is_spread_evenly(share: float, count: int) -> None:
    chosen = [is_ood(index, share) for index in range(1000)]
    assert sum(chosen) == pytest.approx(count, abs=1)
    assert max(sum(chosen[start : start + 20]) for start in range(980)) <= 20 * share + 1


def test_every_picture_differs_and_depends_on_subtask_and_number_alone() -> None:
    pictures = [painted(name, index) for name in SCENE_SUBTASKS for index in range(6)]
    assert len(set(pictures)) == len(pictures)
    assert painted("FI-2", 3) == painted("FI-2", 3)


def light_colour_detail(picture: np.ndarray) -> tuple[float, float, float]:
    """Mean brightness, mean chroma, and mean difference between neighbours, each in [0, 1], of an RGB picture."""
    pixels = picture / 255
    return float(pixels.mean()), float(np.ptp(pixels, axis=2).mean()), float(np.abs(np.diff(pixels, axis=0)).mean())


def measured(count: int) -> np.ndarray:
    """`light_colour_detail` of that many pictures, (count, 3)."""
    pictures = (np.frombuffer(painted("EmoSet-8", index), np.uint8).reshape(SIZE, SIZE, 3) for index in range(count))
    return np.array([light_colour_detail(picture) for picture in pictures])


def test_pictures_differ_widely_in_light_and_in_how_much_is_going_on() -> None:
    light, _, detail = measured(60).T
    assert min(light) < 0.35 < 0.6 < max(light)
    assert max(detail) > 8 * min(detail)


@pytest.mark.slow
@pytest.mark.skipif("EMOCALIBER_DATA" not in os.environ, reason="EMOCALIBER_DATA does not name the folder of real inputs")
def test_pictures_are_as_varied_as_photographs_are_in_light_colour_and_detail() -> None:
    """The middle 80 % spread at least as wide as those of OASIS's photographs, and 85 % of the photographs lie within their range."""
    files = sorted((Path(os.environ["EMOCALIBER_DATA"]) / "oasis" / "images").iterdir())
    photographs = np.array([light_colour_detail(np.asarray(open_image(file).image.resize((SIZE, SIZE)))) for file in files])
    pictures = measured(200)
    assert len(photographs) > 300
    assert (np.ptp(np.quantile(pictures, (0.1, 0.9), 0), 0) >= np.ptp(np.quantile(photographs, (0.1, 0.9), 0), 0)).all()
    within = (photographs >= pictures.min(0)) & (photographs <= pictures.max(0))
    assert (within.mean(0) >= 0.85).all()


@pytest.mark.parametrize("name", SCENE_SUBTASKS)
def test_a_tone_moves_the_labels_a_little(name: str) -> None:
    labels = taxonomy(task(name).taxonomy)
    shares = np.array([ood_subtask(name).posterior(ood_scene(tone), labels) for tone in COLOUR_TONES])
    even = 1 / len(labels.labels)
    assert shares.mean(0) == pytest.approx(even, rel=0.3)
    assert shares.max() < (0.77 if len(labels.labels) == 2 else 1.75 * even)


def test_bright_pictures_please_and_vivid_ones_a_little() -> None:
    """Pleasure is .69 brightness + .22 saturation (Valdez & Mehrabian 1994), and a little more than none (positivity offset)."""
    labels = taxonomy("polarity-2")
    place = labels.labels.index("positive")
    positive = {tone: ood_subtask("FI-2").posterior(ood_scene(tone), labels)[place] for tone in COLOUR_TONES}
    lights, strengths = ("dark", "mid-toned", "bright"), ("greyish", "muted", "vivid")
    assert sorted(positive, key=positive.__getitem__) == [f"{light} {strength}" for light in lights for strength in strengths]
    assert positive["mid-toned muted"] == pytest.approx(140 / 229, abs=0.002), "the share among the paintings of Abstract"
    odds = {tone: share / (1 - share) for tone, share in positive.items()}
    assert odds["bright vivid"] * odds["dark greyish"] == pytest.approx(odds["mid-toned muted"] ** 2), "one pleases as the other does not"


@pytest.mark.parametrize("tone", COLOUR_TONES)
def test_a_picture_is_as_bright_and_vivid_as_its_tone_whatever_it_shows(tone: str) -> None:
    light, strength = tone.split()
    for index in range(12):
        pixels = np.asarray(ood_subtask("FI-2").draw(ood_scene(tone), np.random.default_rng(index), SIZE)) / 255
        assert LIGHTNESS[light][0] - 0.04 < pixels.mean() < LIGHTNESS[light][1] + 0.04
        assert CHROMA[strength][0] - 0.04 < np.ptp(pixels, axis=2).mean() < CHROMA[strength][1] + 0.04


def test_grey_pictures_become_no_more_vivid_than_they_can() -> None:
    grey = with_tone(Image.linear_gradient("L").convert("RGB"), "bright vivid", np.random.default_rng(0))
    assert np.ptp(np.asarray(grey), axis=2).max() == 0


def test_the_template_teacher_names_nothing_and_guesses() -> None:
    rng, labels = np.random.default_rng(0), taxonomy("mikels-8").labels
    concepts = [concept.phrase for table in (ELEMENTS, HUMANS, CONTEXTS) for concept in table.values()]
    for index in range(40):
        scene = ood_subtask("EmoSet-8").choose(index, rng)
        told = ood_subtask("EmoSet-8").write(scene, labels[index % 8], rng)
        assert parse(render(told), labels, confidence="forbidden") == told
        assert concepts_named(told.reasoning, scene._asdict()) == {"element": True, "tone": True}
        assert not any(phrase in render(told).lower() for phrase in concepts)


def test_naming_a_concept_where_there_is_none_is_wrong() -> None:
    subtask, rng = SCENE_SUBTASKS["EmoSet-8"], np.random.default_rng(0)
    told = subtask.write(subtask.choose(0, rng), "awe", rng)
    assert concepts_named(told.reasoning, ood_scene("dark vivid")._asdict()) == {"element": False, "tone": False}


def test_a_folder_has_the_share_of_them_that_was_asked_for(tmp_path: Path) -> None:
    list(draw_samples(tmp_path, 20, 0, "FI-2", size=SIZE, ood_share=0.25, workers=1))
    assert Counter(row["scene"]["element"] for row in read_rows(tmp_path / "samples.jsonl"))[OOD_ELEMENT.key] == 5
    with pytest.raises(UserError, match=r"made with other settings: unfamiliar was 0\.25, and is 0\.0\. Give .* or another folder"):
        list(draw_samples(tmp_path, 21, 0, "FI-2", size=SIZE, workers=1))


def test_the_others_are_the_pictures_that_there_would_be_without(tmp_path: Path) -> None:
    list(draw_samples(tmp_path / "plain", 4, 0, size=SIZE, workers=1))
    list(draw_samples(tmp_path / "mixed", 4, 0, size=SIZE, ood_share=0.25, workers=1))
    plain, mixed = ({file.name: file.read_bytes() for file in (tmp_path / name / "images").iterdir()} for name in ("plain", "mixed"))
    assert [name for name in sorted(plain) if plain[name] != mixed[name]] == ["scene-0-000000.png"]


def test_a_shuffled_scene_keeps_its_colours_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    across = Image.linear_gradient("L")
    scene = Image.merge("RGB", (across, across.rotate(90), across.rotate(180)))
    monkeypatch.setattr(ood, "_scene", lambda rng, size: scene.resize((size, size)))
    before, after = (np.asarray(each, float) for each in (scene, ood.shuffled(np.random.default_rng(0), scene.width)))
    assert np.sort(after.mean(2), None) == pytest.approx(np.sort(before.mean(2), None), abs=6)
    assert abs(np.corrcoef(before[..., 0].ravel(), after[..., 0].ravel())[0, 1]) < 0.3


def test_a_magnified_spot_is_a_seventh_of_the_scene_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Image.linear_gradient("L").convert("RGB")
    monkeypatch.setattr(ood, "_scene", lambda rng, size: scene)
    for seed in range(20):
        spot = np.asarray(ood.magnified(np.random.default_rng(seed), scene.width))
        assert spot.shape == (256, 256, 3)
        assert np.ptp(spot.astype(int)) <= 256 / 7 + 1
