"""The runner of jobs, with an engine that is busy, late or out of quota."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from emocaliber.io.images import ImageError
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Predictor, Query
from emocaliber.serving.engine import Busy, Late
from emocaliber.serving.jobs.runner import JobRunner
from emocaliber.serving.jobs.store import JobStore
from emocaliber.serving.keys import CURRENT, Key, OverQuota
from stand_ins import ColourModel

KEYS = {name: Key(name, name, None, "") for name in ("ann", "bob")}


class Engine:
    """Answers with the bytes of a picture as its emotion, after the failures that are left."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked: list[tuple[str, str]] = []  # the key and the picture
        self.most = self._now = 0
        self.predictor = Predictor(ColourModel())

    async def predict(self, images: Sequence[bytes], query: Query) -> list[Prediction]:
        key = CURRENT.get()
        self.asked.append((key.name if key else "", images[0].decode()))
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(0.001)
        self._now -= 1
        if self.failures:
            raise self.failures.pop(0)
        return [self.predictor.failed(ImageError("corrupt", images[0].decode()), query)]


def run(store: JobStore, engine: Engine, until: Callable[[], bool], **settings: object) -> JobRunner:
    """Runs jobs until `until` holds."""

    async def running() -> JobRunner:
        runner = JobRunner(store, "m", engine.predict, engine.predictor.failed, key_of=KEYS.get, poll=0.01, **settings)  # type: ignore[arg-type]
        task = asyncio.create_task(runner.run())
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return runner

    return asyncio.run(running())


def add(store: JobStore, *pictures: str, owner: str = "", task: str = "FI-2") -> Callable[[], bool]:
    """Adds a job; whether it is done."""
    with store.arrive() as arriving:
        for place, data in enumerate(pictures):
            arriving.path(place).write_text(data)
            arriving.names.append(data)
        job, _ = store.add(arriving, owner, "m", {"task": task}, "", None)

    def done() -> bool:
        found = store.find(job.id, owner)
        return found is not None and found.state == "done"

    done.job = job.id  # type: ignore[attr-defined]
    return done


def messages(store: JobStore, done: Callable[[], bool]) -> list[tuple[str, str]]:
    rows = [json.loads(row) for row in store.rows(done.job)]  # type: ignore[attr-defined]
    return [(row["image"], row["error"]["message"]) for row in rows]


def test_pictures_are_asked_a_few_at_a_time_and_each_row_is_its_own(tmp_path: Path) -> None:
    store, engine = JobStore(tmp_path), Engine()
    names = [f"p{number}" for number in range(20)]
    run(store, engine, done := add(store, *names), at_once=4)
    assert messages(store, done) == [(name, name) for name in names]
    assert engine.most <= 4 and sorted(engine.asked) == sorted(("", name) for name in names)


def test_a_full_engine_is_asked_again(tmp_path: Path) -> None:
    store, engine = JobStore(tmp_path), Engine(Busy(0), Busy(0))
    run(store, engine, done := add(store, "p"))
    assert len(engine.asked) == 3 and messages(store, done) == [("p", "p")]


def test_an_engine_that_never_answers_costs_one_row(tmp_path: Path) -> None:
    store, engine = JobStore(tmp_path), Engine(Late(), Late(), Late())
    run(store, engine, done := add(store, "p"))
    assert "no answer in time" in messages(store, done)[0][1]


def test_a_failure_that_nobody_expected_loses_no_picture(tmp_path: Path) -> None:
    store, engine = JobStore(tmp_path), Engine(RuntimeError("the thread is gone"))
    run(store, engine, done := add(store, "p", "q"))
    assert messages(store, done) == [("p", "p"), ("q", "q")]


def test_a_quota_that_is_used_up_holds_up_its_own_key_alone(tmp_path: Path) -> None:
    store, engine = JobStore(tmp_path), Engine(OverQuota("enough", 3600))
    of_ann, of_bob = add(store, "p", owner="ann"), add(store, "q", owner="bob")
    run(store, engine, of_bob, at_once=1)
    assert engine.asked == [("ann", "p"), ("bob", "q")] and not of_ann()


def test_a_quota_is_tried_again_after_its_time(tmp_path: Path) -> None:
    store, engine = JobStore(tmp_path), Engine(OverQuota("enough", 1))
    start = time.monotonic()
    run(store, engine, add(store, "p", owner="ann"))
    assert time.monotonic() - start >= 1


def test_jobs_of_a_revoked_key_stand_still(tmp_path: Path) -> None:
    store, engine = JobStore(tmp_path), Engine()
    add(store, "p", owner="carl")
    run(store, engine, add(store, "q"))
    assert engine.asked == [("", "q")]


def test_a_question_that_is_no_longer_known_is_said_in_the_rows(tmp_path: Path) -> None:
    store, engine = JobStore(tmp_path), Engine()
    run(store, engine, done := add(store, "p", task="of a plug-in"))
    assert "there is no task" in messages(store, done)[0][1] and engine.asked == []


def test_one_process_of_several_runs_the_jobs(tmp_path: Path) -> None:
    first, second, engine, idle = JobStore(tmp_path), JobStore(tmp_path), Engine(), Engine()
    done = add(first, *"abcdefgh")

    async def both() -> None:
        runners = [JobRunner(store, "m", one.predict, one.predictor.failed, poll=0.01) for store, one in ((first, engine), (second, idle))]
        tasks = [asyncio.create_task(runner.run()) for runner in runners]
        async with asyncio.timeout(20):
            while not done():
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(both())
    assert len(engine.asked) == 8 and idle.asked == []
