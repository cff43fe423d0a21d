"""Real engines and servers answer as the local model does: vLLM in-process, `vllm serve` and `transformers serve` on loopback.

They run where EMOCALIBER_VLLM names a virtual environment that holds vLLM (a CPU build will do) and transformers' server; what its Python
needs on PYTHONPATH besides goes into EMOCALIBER_VLLM_PYTHONPATH. `make test-servers` runs them; starting takes minutes.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

import emocaliber
from emocaliber.core.model import Reply, Request
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.inference.engine import question_for
from emocaliber.models import TINY
from emocaliber.models.local import LocalModel
from emocaliber.models.openai.model import RemoteModel
from emocaliber.scenes.subtasks import SCENE_SUBTASKS

VLLM = Path(os.environ.get("EMOCALIBER_VLLM", ""))
PATIENCE = float(os.environ.get("EMOCALIBER_VLLM_PATIENCE", 1800))  # seconds until a server must be up: on an idle CPU it takes 100
pytestmark = [
    pytest.mark.real_servers,
    pytest.mark.skipif(not os.environ.get("EMOCALIBER_VLLM"), reason="EMOCALIBER_VLLM names no environment with vLLM"),
]

LABELS = tuple(taxonomy("mikels-8").labels)
LIMIT = 160
IN_PROCESS = """
import json, pickle, sys
from dataclasses import replace
from emocaliber.models.vllm import VllmModel

def told(reply):
    tokens = reply.tokens and [
        [piece.hex() for piece in reply.tokens.pieces],
        reply.tokens.logprobs,
        [{piece.hex(): logprob for piece, logprob in place.items()} for place in reply.tokens.likeliest],
    ]
    usage = reply.usage and [reply.usage.prompt_tokens, reply.usage.completion_tokens]
    return {"text": reply.text, "tokens": tokens, "usage": usage, "error": reply.error and [reply.error.code, reply.error.message]}

if __name__ == "__main__":
    folder, asked = sys.argv[1:]
    requests = pickle.load(open(asked, "rb"))
    model = VllmModel(folder, max_new_tokens=160, max_model_len=512, concurrency=4, dtype="float32", enforce_eager=True)
    sampled = [replace(request, temperature=1.0) for request in requests]
    results = {
        "greedy": list(map(told, model.answer(requests))),
        "sampled": list(map(told, model.answer(sampled))),
        "alone": [told(next(model.answer([request]))) for request in sampled],
        "too_long": list(map(told, model.answer([replace(requests[0], question="why? " * 600), requests[0]]))),
    }
    print(json.dumps(results))
"""

TRANSFORMERS = """
import transformers.image_processing_backends as backends
from torchvision.io import image
from transformers.cli.transformers import main
from transformers.image_utils import load_image

try:
    image._assert_has_image_ops()
except RuntimeError:  # a torchvision for GPUs beside a CPU build of torch: Pillow decodes what is sent
    backends.load_image_as_tensor = load_image
main()
"""


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """Scenes of three shapes, all as the model takes them, so that nobody needs to resize."""
    kind, question = SCENE_SUBTASKS["EmoSet-8"], question_for("EmoSet-8", LABELS)
    asked = []
    for n, size in enumerate([(112, 112), (112, 84), (84, 112)] * 2):
        random = kind.generator(5, n)
        scene = kind.draw(kind.choose(n, random), random, 112).crop((0, 0, *size))
        asked.append(Request(scene, question, LABELS, key=str(n), seed=n))
    return asked


@pytest.fixture(scope="module")
def local(requests: list[Request]) -> list[Reply]:
    """What the local model says, in float32 wherever it runs."""
    return list(LocalModel(TINY, max_new_tokens=LIMIT, device="cpu").answer(requests))


@pytest.fixture(scope="module")
def in_process(requests: list[Request], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `VllmModel` says, in a process of vLLM's own Python."""
    folder = tmp_path_factory.mktemp("in-process")
    (folder / "ask.py").write_text(IN_PROCESS)
    (folder / "requests.pickle").write_bytes(pickle.dumps(requests))
    command = [VLLM / "bin/python", folder / "ask.py", TINY, folder / "requests.pickle"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = ["--max-model-len=512", "--max-num-seqs=8", "--dtype=float32", "--enforce-eager", '--limit-mm-per-prompt={"video": 0}']
    with serving([VLLM / "bin/vllm"], settings, tmp_path_factory.mktemp("vllm")) as address:
        yield address


@pytest.fixture(scope="module")
def transformers_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not list(VLLM.glob("lib/python*/site-packages/accelerate")):
        pytest.skip("`transformers serve` needs accelerate in the environment that EMOCALIBER_VLLM names")
    settings = ["--device=cpu", "--dtype=float32"]
    with serving([VLLM / "bin/python", "-c", TRANSFORMERS], settings, tmp_path_factory.mktemp("transformers")) as address:
        yield address


def environment() -> dict[str, str]:
    paths = [str(Path(emocaliber.__file__).parents[1]), os.environ.get("EMOCALIBER_VLLM_PYTHONPATH", "")]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "VLLM_CPU_KVCACHE_SPACE": "1"}


@contextmanager
def serving(program: list[str | Path], settings: list[str], folder: Path) -> Iterator[str]:
    """The address of `PROGRAM serve TINY`, up and ready; it is ended afterwards."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = folder / "log"
    with log.open("w") as out:
        command = [*program, "serve", str(TINY), "--host=127.0.0.1", f"--port={port}", *settings]
        server = subprocess.Popen(command, env=environment(), stdout=out, stderr=out, cwd=folder)
    try:
        deadline = time.monotonic() + PATIENCE
        while not is_up(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, f"the server ended:\n{log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"the server is not up:\n{log.read_text()[-2000:]}"
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


def is_up(address: str) -> bool:
    try:
        with urlopen(address, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def served(*addresses: str, **settings: Any) -> RemoteModel:
    """Tiny behind servers, which call it by its folder."""
    return RemoteModel(str(TINY), base_url=addresses, api_key="", max_new_tokens=LIMIT, timeout=PATIENCE, **settings)


def assert_alike(reply: Reply, other: Reply, *, within: float = 1e-3) -> None:
    """The same tokens, as likely, among the same alternatives."""
    assert reply.tokens is not None and other.tokens is not None
    assert reply.tokens.pieces == other.tokens.pieces
    assert reply.tokens.logprobs == pytest.approx(other.tokens.logprobs, abs=within)
    for mine, theirs in zip(reply.tokens.likeliest, other.tokens.likeliest, strict=True):
        assert len(set(mine) & set(theirs)) >= 18
        assert all(mine[piece] == pytest.approx(theirs[piece], abs=within) for piece in set(mine) & set(theirs) if theirs[piece] > -10)


def test_vllm_in_process_gives_the_answers_that_local_gives(in_process: dict[str, Any], local: list[Reply]) -> None:
    assert [each["error"] for each in in_process["greedy"]] == [None] * len(local)
    assert [each["text"] for each in in_process["greedy"]] == [reply.text for reply in local]


def test_vllm_in_process_gives_the_log_probabilities_that_local_gives(in_process: dict[str, Any], local: list[Reply]) -> None:
    from emocaliber.core.model import Tokens

    for told, reply in zip(in_process["greedy"], local, strict=True):
        pieces, logprobs, likeliest = told["tokens"]
        spelt = [{bytes.fromhex(piece): logprob for piece, logprob in place.items()} for place in likeliest]
        tokens = Tokens(tuple(map(bytes.fromhex, pieces)), tuple(logprobs), spelt)
        assert_alike(Reply(told["text"], 0.0, tokens), reply)
        assert reply.usage is not None
        assert told["usage"] == [reply.usage.prompt_tokens, reply.usage.completion_tokens]


def test_what_vllm_samples_depends_on_the_request_alone(in_process: dict[str, Any]) -> None:
    together, alone = ([each["text"] for each in in_process[how]] for how in ("sampled", "alone"))
    assert together == alone
    assert together != [each["text"] for each in in_process["greedy"]]


def test_a_prompt_that_vllm_cannot_take_is_its_own_error_only(in_process: dict[str, Any]) -> None:
    failed, answered = in_process["too_long"]
    assert failed["error"][0] == "bad_request" and "512" in failed["error"][1]
    assert answered["text"] == in_process["greedy"][0]["text"]


def test_vllm_serve_is_asked_with_images_and_gives_log_probabilities(vllm_server: str, requests: list[Request], local: list[Reply]) -> None:
    replies = list(served(vllm_server).answer(requests))
    assert [reply.error for reply in replies] == [None] * len(requests)
    for reply, mine in zip(replies, local, strict=True):
        assert_alike(reply, mine)
        assert reply.text == mine.text and reply.usage == mine.usage


def test_transformers_serve_is_asked_with_images(transformers_server: str, requests: list[Request], local: list[Reply]) -> None:
    replies = list(served(transformers_server, concurrency=2).answer(requests))
    assert [reply.error for reply in replies] == [None] * len(requests)
    assert [reply.text for reply in replies] == [reply.text for reply in local], "the reasoning too, which it splits off"
    assert all(reply.tokens is None for reply in replies), "it has no log-probabilities to give"


def test_two_servers_share_the_work(vllm_server: str, transformers_server: str, requests: list[Request], local: list[Reply]) -> None:
    model = served(vllm_server, transformers_server, concurrency=4)
    replies = list(model.answer(requests * 2))
    assert [reply.text for reply in replies] == [reply.text for reply in local] * 2
    assert {reply.tokens is None for reply in replies} == {True, False}, "each of them answered some"
