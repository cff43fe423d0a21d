"""One server with the shipped model, for all tests that only ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from emocaliber.models import TINY
from emocaliber.predict.predictor import Predictor, load
from serving_servers import ServerProcess, served_by_command


@pytest.fixture(scope="session")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`emocaliber serve` as a user starts it."""
    if not (TINY / "config.json").is_file():
        pytest.skip(f"there is no checkpoint in {TINY}")
    with served_by_command(config=tmp_path_factory.mktemp("config")) as server:
        yield server


@pytest.fixture(scope="session")
def tiny() -> Predictor:
    """The shipped model as the server loads it."""
    return load("tiny")
