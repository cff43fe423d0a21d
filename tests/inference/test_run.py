"""A run knows what it was asked, and can be shared out, broken off and gone on with, without a row too many or too few."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber import models
from emocaliber.core.model import ModelError, Reply, Usage
from emocaliber.core.samples import Sample
from emocaliber.errors import UserError
from emocaliber.inference.plan import Selection, Shard, identity_of_model, read_run_config, select
from emocaliber.inference.run import Outputs, Run, RunSummary, summarise_run, without_secrets
from emocaliber.io.rows import read_rows
from emocaliber.models.available import why_unavailable
from stand_ins import ColourModel, photo

COLOURS = ("red", "green", "blue", "orange", "teal", "white", "salmon")
LABELS = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]


def write_samples(file: Path, ids: list[str], **fields: Any) -> Path:
    """Samples with those ids, each of its own colour."""
    file.parent.mkdir(parents=True, exist_ok=True)
    common = {"task": "EmoSet-8", "candidates": LABELS, "ground_truth": "awe", "source": "test", "split": "test"} | fields
    for identity, colour in zip(ids, COLOURS * len(ids), strict=False):
        photo(file.parent / f"{identity}.png", colour)
    file.write_text("".join(json.dumps({"id": name, "image": f"{name}.png"} | common) + "\n" for name in ids))
    return file


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "bench" / "test.jsonl", list("abcdefg"))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ColourModel:
    """What every name stands for."""
    loaded = ColourModel()
    monkeypatch.setattr(models, "load_model", lambda name, **settings: loaded)
    return loaded


def a_run(samples: Path, out: str | Path, flags: dict[str, Any] | None = None, *, few: int | None = None, **how: Any) -> Run:
    return Run(read_run_config(None, {"model": "m"} | (flags or {})), select([samples], max_samples=few), Outputs.at(str(out)), **how)


def ask(run: Run) -> RunSummary:
    for _ in run.ask():
        pass
    return summarise_run(run)


def rows(path: Path) -> list[dict[str, Any]]:
    """Without what differs from one session to the next."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_rows(path)]


def a_sample(identity: str) -> Sample:
    return Sample(identity, "i.png", "EmoSet-8", tuple(LABELS), "awe", "test", "test")


# Plans


def run_file(folder: Path, text: str) -> Path:
    file = folder / "run.toml"
    file.write_text(text)
    return file


def test_flags_replace_what_the_run_file_says(tmp_path: Path) -> None:
    text = 'model = "tiny"\nlenient = true\n[settings]\ntemperature = 1\nseed = 3\n[strategy]\nconsistency = 5\n'
    config = read_run_config(run_file(tmp_path, text), {"lenient": False, "settings": {"seed": 4}, "strategy": {"p_true": True}})
    assert (config.model, config.prompt.name, config.lenient, config.confidence) == ("tiny", "emocaliber", False, True)
    assert config.settings == {"temperature": 1.0, "seed": 4}
    assert (config.strategy.consistency, config.strategy.p_true) == (5, True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model = 3", r"run\.toml: model must be a text, not 3"),
        ('model = "tiny"\ntemprature = 1', r"run\.toml: there is no setting 'temprature' here; the settings are model, prompt, lenient"),
        ('model = "tiny"\nsettings = 1', r"run\.toml: settings must be a table, not 1"),
        ('model = "tiny"\n[settings]\ntemperature = "hot"', r"run\.toml, \[settings\]: temperature must be a number, not 'hot'"),
        ('model = "tiny"\n[settings]\nbatch_size = 0', r"run\.toml, \[settings\]: batch_size is 0; it must be at least 1"),
        ('model = "tiny"\n[settings]\ntemperature = nan', r"run\.toml, \[settings\]: temperature is nan; it must be at least 0"),
        ('model = "tiny"\n[settings]\napi_key = "sk-1"', r"a key does not belong in a file; .* OPENAI_API_KEY"),
        ('model = "tiny"\n[strategy]\nconsistency = true', r"run\.toml, \[strategy\]: consistency must be a whole number, not True"),
        ('model = "tiny"\n[strategy]\nsamples = 2', r"run\.toml, \[strategy\]: there is no setting 'samples' here; .*consistency"),
        ('prompt = "emocaliber"', "no model is named"),
        ('model = "tiny"\nprompt = "nonsense"', "there is no prompt 'nonsense'"),
        ("model", r"run\.toml is not TOML"),
    ],
)
def test_a_run_file_that_is_wrong_is_told_by_its_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        read_run_config(run_file(tmp_path, text))


def test_a_run_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.toml: cannot be read"):
        read_run_config(tmp_path / "nowhere.toml")


# Selections


@given(size=st.integers(0, 200), of=st.integers(1, 40))
def test_shards_are_disjoint_complete_even_and_in_order(size: int, of: int) -> None:
    parts = [Shard(number, of).of_list(range(size)) for number in range(1, of + 1)]
    assert [item for part in parts for item in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    names = [Shard(number, of).name for number in range(1, of + 1)]
    assert sorted(names) == names


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "3", "a/b", "1/2/3", "-1/2", ""])
def test_a_shard_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="such as 3/8"):
        Shard.parse(text)


@given(count=st.integers(1, 30), more=st.integers(0, 30))
def test_a_few_samples_are_the_same_ones_every_time_in_order_and_among_any_more(
    tmp_path_factory: pytest.TempPathFactory, count: int, more: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "forty" / "samples.jsonl"
    if not file.exists():
        write_samples(file, [f"s{number:02}" for number in range(40)])
    few, several = ([sample.id for sample in select([file], max_samples=n).samples] for n in (count, count + more))
    assert len(few) == min(count, 40)
    assert few == sorted(few)
    assert set(few) <= set(several)


def test_a_folder_stands_for_its_test_file_and_several_files_are_read_as_one(samples: Path, tmp_path: Path) -> None:
    write_samples(samples.parent / "train.jsonl", ["not asked"])
    more = write_samples(tmp_path / "scenes" / "samples.jsonl", ["x", "y"])
    chosen = select([samples.parent, more.parent])
    assert [sample.id for sample in chosen.samples] == [*"abcdefg", "x", "y"]
    assert list(chosen.files) == [samples, more]


def test_the_released_test_metadata_is_read(tmp_path: Path) -> None:
    file = tmp_path / "test_metadata.csv"
    file.write_text("task,split,image_path,label\nFI-2,test,fi/1.jpg,positive\n")
    [sample] = select([file]).samples
    assert (sample.task, sample.image, sample.ground_truth) == ("FI-2", str(tmp_path / "fi" / "1.jpg"), "positive")


def test_a_sample_in_two_files_is_refused(samples: Path, tmp_path: Path) -> None:
    other = write_samples(tmp_path / "other.jsonl", ["z", "c"])
    with pytest.raises(UserError, match=r"test\.jsonl and .*other\.jsonl both hold a sample 'c'"):
        select([samples, other])


def test_a_folder_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither test\.jsonl nor samples\.jsonl"):
        select([tmp_path])


# Outputs


@pytest.mark.parametrize(
    ("out", "rows", "journal"),
    [
        ("r.jsonl", "r.jsonl", "r.journal"),
        ("run", "run/responses.jsonl", "run/responses.journal"),
        ("run.v2/", "run.v2/responses.jsonl", "run.v2/responses.journal"),
    ],
)
def test_everything_lies_beside_the_rows(out: str, rows: str, journal: str) -> None:
    found = Outputs.at(out)
    assert (found.rows, found.journal) == (Path(rows), Path(journal))
    assert found.record == found.rows.with_name(f"{found.rows.stem}.run.json")


def test_shards_in_one_folder_have_files_of_their_own() -> None:
    assert Outputs.at("run", Shard(3, 12)).rows == Path("run/responses-03-of-12.jsonl")


def test_other_formats_are_refused() -> None:
    with pytest.raises(UserError, match=r"r\.csv: responses are written as \.jsonl"):
        Outputs.at("r.csv")


# Runs


def test_the_shards_one_after_the_other_are_the_whole_run(model: ColourModel, samples: Path, tmp_path: Path) -> None:
    ask(a_run(samples, tmp_path / "whole.jsonl"))
    parts = []
    for number in range(1, 4):
        shard = Shard(number, 3)
        run = Run(read_run_config(None, {"model": "m"}), select([samples], shard=shard), Outputs.at(f"{tmp_path}/", shard))
        ask(run)
        parts.append(run.out.rows)
    assert [row for part in parts for row in rows(part)] == rows(tmp_path / "whole.jsonl")


def test_more_shards_than_samples_leave_some_empty(model: ColourModel, samples: Path, tmp_path: Path) -> None:
    shard = Shard(1, 9)
    ended = ask(Run(read_run_config(None, {"model": "m"}), select([samples], shard=shard), Outputs.at(f"{tmp_path}/", shard)))
    assert ended.complete
    assert ended.run.out.rows.read_bytes() == b""


def test_the_record_says_how_to_repeat_the_run(model: ColourModel, samples: Path, tmp_path: Path) -> None:
    run = a_run(samples, tmp_path / "r.jsonl", {"settings": {"temperature": 0.5}}, few=3, command=["emocaliber", "respond"])
    ask(run)
    record = json.loads(run.out.record.read_text())
    what, [session] = record["what"], record["sessions"]
    assert what["settings"] == {"temperature": 0.5}
    assert what["max_samples"] == 3
    assert list(what["samples"]) == [str(samples)]
    assert "Which emotion might this image evoke?" in what["prompt"]["questions"]["EmoSet-8"]
    assert record["results"] == {"samples": 3, "rows": 3, "failed": 0}
    assert (session["command"], session["rows"], session["stopped"]) == (["emocaliber", "respond"], 3, None)
    assert {"emocaliber", "python"} <= set(session["versions"])
    assert session["ended"] is not None


def test_the_weights_of_a_folder_are_told_apart(model: ColourModel, samples: Path, tmp_path: Path) -> None:
    weights = tmp_path / "checkpoint" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"1")
    flags = {"model": str(weights.parent)}
    next(iter(a_run(samples, tmp_path / "r.jsonl", flags).ask()))
    weights.write_bytes(b"2")
    with pytest.raises(UserError, match=r"model\.sha256 was '.*', and is '"):
        a_run(samples, tmp_path / "r.jsonl", flags, resume=True)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, model: ColourModel) -> dict[str, str | None]:
    """The commit of every hub id in the cache, and after loading."""
    commits: dict[str, str | None] = {"cached": "1", "loaded": "1"}

    def load(name: str, **settings: Any) -> ColourModel:
        commits["cached"] = commits["loaded"]
        return model

    monkeypatch.setattr(models, "load_model", load)
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda name, file: commits["cached"] and f"/cache/{commits['cached']}/{file}"
    )
    return commits


def test_the_weights_of_a_hub_id_are_told_apart_by_their_commit(hub: dict[str, str | None], samples: Path, tmp_path: Path) -> None:
    ask(a_run(samples, tmp_path / "r.jsonl"))
    ask(a_run(samples, tmp_path / "r.jsonl", resume=True))
    hub["cached"] = "2"
    with pytest.raises(UserError, match=r"model\.commit was '1', and is '2'"):
        a_run(samples, tmp_path / "r.jsonl", resume=True)


def test_weights_that_loading_fetches_are_compared_too(hub: dict[str, str | None], samples: Path, tmp_path: Path) -> None:
    hub["cached"] = None  # nothing is in the cache before the first run
    ask(a_run(samples, tmp_path / "r.jsonl"))
    assert json.loads((tmp_path / "r.run.json").read_text())["what"]["model"]["commit"] == "1"
    hub["loaded"] = "2"
    with pytest.raises(UserError, match=r"model\.commit was '1', and is '2'"):
        a_run(samples, tmp_path / "r.jsonl", resume=True)
    hub |= {"cached": None, "loaded": None}
    assert ask(a_run(samples, tmp_path / "r.jsonl", resume=True)).complete, "a commit that is not known is not another"


def test_the_commit_in_a_record_of_an_older_version_is_that_of_its_sessions(
    hub: dict[str, str | None], samples: Path, tmp_path: Path
) -> None:
    ask(a_run(samples, tmp_path / "r.jsonl"))
    record = json.loads((tmp_path / "r.run.json").read_text())
    del record["what"]["model"]["commit"]
    record["sittings"] = record.pop("sessions")  # as they were called then
    (tmp_path / "r.run.json").write_text(json.dumps(record))
    hub |= {"cached": "2", "loaded": "2"}
    with pytest.raises(UserError, match=r"model\.commit was '1', and is '2'"):
        a_run(samples, tmp_path / "r.jsonl", resume=True)


def test_existing_rows_are_never_overwritten_without_a_flag(model: ColourModel, samples: Path, tmp_path: Path) -> None:
    ask(a_run(samples, tmp_path / "r.jsonl"))
    with pytest.raises(UserError, match=r"r\.jsonl holds rows already; give --resume"):
        a_run(samples, tmp_path / "r.jsonl")


def test_rows_without_their_record_are_not_resumed(model: ColourModel, samples: Path, tmp_path: Path) -> None:
    run = a_run(samples, tmp_path / "r.jsonl")
    ask(run)
    run.out.record.unlink()
    with pytest.raises(UserError, match=r"r\.run\.json is missing, so it is not known how .*r\.jsonl was made"):
        a_run(samples, tmp_path / "r.jsonl", resume=True)


@pytest.mark.parametrize(
    ("flags", "few", "complaint"),
    [
        ({"settings": {"temperature": 0.7}}, None, "settings.temperature was not given, and is 0.7"),
        ({"lenient": False}, None, "lenient was True, and is False"),
        ({"confidence": False}, None, "confidence was True, and is False; prompt.questions.EmoSet-8 was "),
        ({"strategy": {"p_true": True}}, None, "strategy.p_true was False, and is True"),
        ({"model": "n"}, None, "model.name was 'm', and is 'n'"),
        ({}, 3, "max_samples was not given, and is 3"),
    ],
)
def test_a_run_resumes_with_the_same_settings_only(
    model: ColourModel, samples: Path, tmp_path: Path, flags: dict[str, Any], few: int | None, complaint: str
) -> None:
    ask(a_run(samples, tmp_path / "r.jsonl"))
    before = (tmp_path / "r.run.json").read_bytes()
    with pytest.raises(UserError, match=rf"made with other settings: .*{complaint}.* or another --out"):
        a_run(samples, tmp_path / "r.jsonl", flags, few=few, resume=True)
    assert (tmp_path / "r.run.json").read_bytes() == before


def test_how_fast_and_at_what_price_may_change(model: ColourModel, samples: Path, tmp_path: Path) -> None:
    ask(a_run(samples, tmp_path / "r.jsonl", {"settings": {"budget": 1.0, "concurrency": 2}}))
    run = a_run(samples, tmp_path / "r.jsonl", {"settings": {"budget": 9.0, "batch_size": 2, "base_url": ["http://b"]}}, resume=True)
    assert (ask(run).complete, len(json.loads(run.out.record.read_text())["sessions"])) == (True, 2)


@given(broken=st.integers(1, 7))
def test_a_run_that_is_broken_off_anywhere_ends_as_if_it_had_not_been(tmp_path_factory: pytest.TempPathFactory, broken: int) -> None:
    folder = tmp_path_factory.mktemp("broken")
    samples = write_samples(folder / "test.jsonl", list("abcdefg"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load_model", lambda name, **settings: ColourModel())
        ask(a_run(samples, folder / "whole.jsonl"))
        run = a_run(samples, folder / "r.jsonl")
        asked = run.ask()
        for _ in range(broken):
            next(asked)
        asked.close()
        with (folder / "r.jsonl").open("ab") as file:
            file.write(b'{"id": "half')
        ended = ask(a_run(samples, folder / "r.jsonl", resume=True))
    assert rows(folder / "r.jsonl") == rows(folder / "whole.jsonl")
    assert ended.complete


def test_failed_samples_are_asked_again_on_request_and_come_in_their_places(model: ColourModel, samples: Path, tmp_path: Path) -> None:
    image = samples.parent / "c.png"
    whole = image.read_bytes()
    image.write_bytes(b"no image")
    ended = ask(a_run(samples, tmp_path / "r.jsonl"))
    assert (ended.complete, ended.errors) == (False, {"unsupported_format": 1})
    assert list(ended.sentences())[-1] == "1 of 7 failed; the same command with --retry-failed asks about them again"
    image.write_bytes(whole)
    assert not ask(a_run(samples, tmp_path / "r.jsonl", resume=True)).complete, "--resume leaves it as it is"
    assert ask(a_run(samples, tmp_path / "r.jsonl", retry_failed=True)).complete
    assert [row["id"] for row in rows(tmp_path / "r.jsonl")] == list("abcdefg")


class Paid(ColourModel):
    """A model that takes a dollar for each reply, and has money for three."""

    spent: Usage | None = None

    def answer(self, requests: Any) -> Iterator[Reply]:
        for number, reply in enumerate(super().answer(requests), 1):
            if number > 3:
                raise UserError("the budget of $3 is spent; go on with --resume and a larger --budget")
            self.spent = Usage(10 * number, number, float(number))
            yield replace(reply, usage=Usage(10, 1, 1.0))


def test_a_model_that_stops_leaves_its_rows_and_says_how_to_go_on(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load_model", lambda name, **settings: Paid(window=None))
    ended = ask(a_run(samples, tmp_path / "r.jsonl"))
    first, *_, last = ended.sentences()
    assert first.endswith("3 of 7 samples asked, 0 failed, $3.0000 spent")
    assert last == "stopped with 4 samples to go: the budget of $3 is spent; go on with --resume and a larger --budget"
    assert not ended.complete
    ask(a_run(samples, tmp_path / "r.jsonl", resume=True))
    ended = ask(a_run(samples, tmp_path / "r.jsonl", resume=True))
    assert (ended.complete, [row["id"] for row in rows(tmp_path / "r.jsonl")]) == (True, list("abcdefg"))
    results = json.loads((tmp_path / "r.run.json").read_text())["results"]
    assert results["usage"] == {"prompt_tokens": 70, "completion_tokens": 7, "cost": 7.0}


def test_a_model_that_refuses_everything_is_a_mistake(model: ColourModel, samples: Path, tmp_path: Path) -> None:
    def refuse(requests: Any) -> Iterator[Reply]:
        raise UserError("the key is wrong")
        yield

    model.answer = refuse  # type: ignore[method-assign]
    with pytest.raises(UserError, match="the key is wrong"):
        ask(a_run(samples, tmp_path / "r.jsonl"))


class Speaker(ColourModel):
    """Says the same to everything; an error where it says nothing."""

    says = ""

    def answer(self, requests: Any) -> Iterator[Reply]:
        for _ in requests:
            yield Reply(self.says, 0.1, error=None if self.says else ModelError("timeout", "no reply in 60 s"))


def speaking(says: str, samples: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **flags: Any) -> list[str]:
    speaker = Speaker()
    speaker.says = says
    monkeypatch.setattr(models, "load_model", lambda name, **settings: speaker)
    return list(ask(a_run(samples, out, flags)).sentences())


def test_answers_that_cannot_be_read_are_pointed_out(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = speaking("I feel it.<answer>awe</answer>", samples, tmp_path / "r.jsonl", monkeypatch)
    assert said[1] == f"next: emocaliber score {tmp_path}/r.jsonl"
    strict = speaking("I feel it.<answer>awe</answer>", samples, tmp_path / "s.jsonl", monkeypatch, lenient=False)
    assert strict[1] == "7 of 7 answers cannot be read: they do not keep to the five steps (--no-lenient)"
    garbage = speaking("who knows", samples, tmp_path / "g.jsonl", monkeypatch)
    assert garbage[1] == "7 of 7 answers cannot be read: they do not name exactly one of the candidates in <answer>"


def test_a_run_without_an_answer_is_not_sent_to_be_scored(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = speaking("", samples, tmp_path / "r.jsonl", monkeypatch)
    assert said[0].endswith("7 of 7 samples asked, 7 failed (timeout 7)")
    assert len(said) == 2


# Secrets


def test_a_record_holds_no_secret(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ColourModel) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    address = "https://me:hunter22@host.example/v1?token=t0psecret"
    flags = {"model": "openai:m", "settings": {"base_url": [address]}}
    command = ["emocaliber", "respond", "--base-url", address, "--prompt", "sk-canary-0123456789"]
    run = a_run(samples, tmp_path / "r.jsonl", flags, command=command)
    ask(run)
    text = run.out.record.read_text()
    assert "https://***@host.example/v1?***" in text
    assert not [secret for secret in ("canary", "hunter22", "t0psecret") if secret in text]


def test_a_word_that_is_no_key_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    assert without_secrets({"a": ["EMPTY", 1, None]}) == {"a": ["EMPTY", 1, None]}


def test_an_api_has_its_journal_beside_the_rows_and_its_address_in_the_record(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1")
    loaded: dict[str, Any] = {}
    monkeypatch.setattr(models, "load_model", lambda name, **settings: loaded.update(settings) or ColourModel())
    run = a_run(samples, tmp_path / "r.jsonl", {"model": "openai:m"})
    assert loaded == {"journal": tmp_path / "r.journal", "base_url": "http://localhost:8000/v1"}
    ask(run)
    assert json.loads(run.out.record.read_text())["what"]["settings"] == {"base_url": "http://localhost:8000/v1"}


def test_an_empty_selection_asks_nothing(model: ColourModel, tmp_path: Path) -> None:
    run = Run(read_run_config(None, {"model": "m"}), Selection((), {}), Outputs.at(str(tmp_path / "r.jsonl")))
    assert list(run.ask()) == []


def test_without_the_hubs_library_a_model_of_others_has_a_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert identity_of_model("openai:small") == {"name": "openai:small", "sha256": None, "commit": None}
    assert why_unavailable("someone/model") is None
