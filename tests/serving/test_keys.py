"""Keys: who may ask, how much, and from when on no longer."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx2
import pytest

from emocaliber.__main__ import main
from emocaliber.errors import UserError
from emocaliber.serving.keys import KeyFile
from serving_servers import picture, post, served_model
from stand_ins import ColourModel


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def test_a_key_is_shown_once_and_kept_as_a_hash_that_its_owner_alone_reads(keys: KeyFile, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "keys", "make", "web-shop", "--images-per-minute", "60", "--keys", str(keys.path)]) == 0
    key = capsys.readouterr().out.strip()
    assert len(key) > 40 and key not in keys.path.read_text()
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert main(["serve", "keys", "list", "--keys", str(keys.path)]) == 0
    listed = capsys.readouterr().out
    assert "web-shop" in listed and "60 images a minute" in listed and key not in listed
    assert main(["serve", "keys", "revoke", "web-shop", "--keys", str(keys.path)]) == 0
    assert main(["serve", "keys", "list", "--keys", str(keys.path)]) == 0
    assert "revoked" in capsys.readouterr().out


def test_mistakes_with_keys_are_said(keys: KeyFile, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["revoke", "nobody"], ["make", ""], ["make", "a\nb"], ["make", "x" * 65]):
        assert main(["serve", "keys", *words, "--keys", str(keys.path)]) == 2
    keys.make("a")
    with pytest.raises(UserError, match="there is a key called 'a'"):
        keys.make("a")
    keys.revoke("a")
    keys.make("a")
    keys.path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        keys.read()
    keys.path.chmod(0o600)
    keys.path.write_text("[]")
    with pytest.raises(UserError, match="not a file of keys"):
        keys.read()


def test_on_another_address_it_does_not_start_without_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    assert main(["serve", "--host", "0.0.0.0", "--keys", str(file)]) == 2
    assert "emocaliber serve keys make" in capsys.readouterr().err
    keys = KeyFile(file)
    keys.make("a")
    keys.revoke("a")
    assert main(["serve", "--host", "0.0.0.0", "--keys", str(file)]) == 2  # a revoked key is none


def test_on_another_address_every_request_but_health_needs_a_key(tmp_path: Path) -> None:
    key = KeyFile(tmp_path / "keys.json").make("a")
    with served_model(ColourModel(), tmp_path, host="0.0.0.0") as (url, _):
        assert httpx2.get(f"{url}/health").status_code == httpx2.get(f"{url}/ready").status_code == 200
        for path in ("/metrics", "/v1/models", "/openapi.json", "/nothing"):
            refused = httpx2.get(f"{url}{path}")
            assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
        assert httpx2.get(f"{url}/v1/models", headers=bearing(key) | {"Host": "emotions.example.org"}).status_code == 200
        assert post(url, picture("red"), headers=bearing(key)).status_code == 200
        assert post(url, picture("red")).status_code == 401


def test_behind_a_proxy_it_answers_to_the_name_of_the_proxy_and_needs_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = KeyFile(tmp_path / "keys.json")
    assert main(["serve", "--name", "emotions.example.org", "--keys", str(file.path)]) == 2
    assert "emotions.example.org can be reached" in capsys.readouterr().err
    key = file.make("a")
    with served_model(ColourModel(), tmp_path, names=("emotions.example.org",)) as (url, _):
        named = {"Host": "Emotions.example.org"}
        assert httpx2.get(f"{url}/v1/models", headers=named).status_code == 401
        assert httpx2.get(f"{url}/v1/models", headers=bearing(key) | named).status_code == 200
        assert httpx2.get(f"{url}/v1/models", headers=bearing(key) | {"Host": "evil.example"}).status_code == 421


def test_a_key_that_was_made_or_revoked_counts_from_the_next_request_on(tmp_path: Path, keys: KeyFile) -> None:
    with served_model(ColourModel(), tmp_path) as (url, _):
        assert post(url, picture("red")).status_code == 200  # of this machine, with no keys made
        first, second = keys.make("first"), keys.make("second")
        assert post(url, picture("red")).status_code == 401
        assert post(url, picture("red"), headers=bearing(first)).status_code == 200
        keys.revoke("first")
        assert post(url, picture("red"), headers=bearing(first)).status_code == 401
        assert post(url, picture("red"), headers=bearing(second)).status_code == 200
        for wrong in ("x", second[:-1], f"{second}x", second.upper()):
            assert post(url, picture("red"), headers=bearing(wrong)).status_code == 401
        keys.path.unlink()  # whoever removes the file lets nobody in
        assert post(url, picture("red"), headers=bearing(second)).status_code == 401


def test_a_file_of_keys_that_is_damaged_lets_nobody_in(tmp_path: Path, keys: KeyFile) -> None:
    key = keys.make("a")
    with served_model(ColourModel(), tmp_path) as (url, _):
        assert post(url, picture("red"), headers=bearing(key)).status_code == 200
        keys.path.write_text(json.dumps({"keys": [{}]}))
        assert post(url, picture("red"), headers=bearing(key)).status_code == 401


def test_a_key_may_ask_about_its_quota_of_images_and_others_are_not_touched(tmp_path: Path, keys: KeyFile) -> None:
    few, many = keys.make("few", 4), keys.make("many")
    with served_model(ColourModel(), tmp_path) as (url, _):
        assert post(url, *[picture("red")] * 3, headers=bearing(few)).status_code == 200
        refused = post(url, *[picture("red")] * 3, headers=bearing(few))
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "over_quota"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert post(url, picture("red"), headers=bearing(few)).status_code == 200
        assert post(url, *[picture("red")] * 5, headers=bearing(few)).status_code == 413  # can never be
        assert post(url, *[picture("red")] * 9, headers=bearing(many)).status_code == 200
        assert httpx2.get(f"{url}/v1/models", headers=bearing(few)).status_code == 200
