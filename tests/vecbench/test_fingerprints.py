from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emocaliber.io.images import ImageError
from emocaliber.vecbench import duplicates as module
from emocaliber.vecbench.duplicates import Fingerprint, fingerprints


def save(path: Path, seed: int) -> str:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(noise).resize((96, 72)).save(path)
    return str(path)


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are opened from now on."""
    seen: list[str] = []
    real = module.open_images
    monkeypatch.setattr(module, "open_images", lambda paths, *rest, **named: real([seen.append(p) or p for p in paths], *rest, **named))
    return seen


def test_a_fingerprint_is_a_hash_of_the_file_s_bytes_and_a_perceptual_hash_of_the_picture(tmp_path: Path) -> None:
    png, bmp = save(tmp_path / "a.png", 1), save(tmp_path / "a.bmp", 1)
    found = fingerprints([png, bmp])
    first, second = found[png], found[bmp]
    assert isinstance(first, Fingerprint) and isinstance(second, Fingerprint)
    assert first.sha256 == hashlib.sha256(Path(png).read_bytes()).hexdigest() != second.sha256
    assert first.phash == second.phash is not None


def test_strange_files_have_an_error_instead(oddities: dict[str, str | None]) -> None:
    found = fingerprints(list(oddities))
    assert {path: each.code if isinstance(each, ImageError) else None for path, each in found.items()} == oddities


def test_a_second_run_opens_only_what_is_new_or_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache.jsonl"
    a, b = save(tmp_path / "a.png", 1), save(tmp_path / "b.png", 2)
    first = fingerprints([a, b], cache)
    seen = opened(monkeypatch)
    assert fingerprints([a, b], cache) == first and not seen
    save(Path(b), 3)
    os.utime(b, ns=(1, 1))
    c = save(tmp_path / "c.png", 4)
    changed = fingerprints([a, b, c], cache)
    assert seen == [b, c] and changed[b] != first[b]
    assert fingerprints([a, b, c], cache) == changed and seen == [b, c]


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache.jsonl"
    paths = [save(tmp_path / f"{number}.png", number) for number in range(4)]
    whole = fingerprints(paths, cache)
    lines = cache.read_text().splitlines()
    cache.write_text("\n".join([*lines[:2], lines[2][:30]]))
    seen = opened(monkeypatch)
    assert fingerprints(paths, cache) == whole and seen == paths[2:]
    assert len([json.loads(line) for line in cache.read_text().splitlines()]) == 4


def test_what_could_not_be_read_is_tried_again(tmp_path: Path) -> None:
    cache, late = tmp_path / "cache.jsonl", str(tmp_path / "late.png")
    assert isinstance(fingerprints([late], cache)[late], ImageError)
    save(Path(late), 1)
    assert isinstance(fingerprints([late], cache)[late], Fingerprint)


def test_two_processes_find_what_one_finds_and_progress_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save(tmp_path / f"{number}.png", number) for number in range(6)]
    monkeypatch.setattr(module, "_FEW", 0)
    monkeypatch.setattr(module, "_CHUNK", 2)
    counts: list[int] = []
    assert fingerprints(paths, workers=2, progress=counts.append) == fingerprints(paths, workers=1)
    assert counts == [0, 1, 2, 3, 4, 5, 6]
