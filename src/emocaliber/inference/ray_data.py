"""`respond` on Ray Data: workers of a cluster, or of this machine, ask the model; this process writes the rows as they come.

One task is a window of samples, cut as the engine cuts it, so that its rows are those of a single process. Workers keep nothing: if one
ends, Ray starts another, which is given its window again. The row file is the checkpoint from which a run is resumed.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emocaliber import models
from emocaliber.core.calibrators import Calibrators
from emocaliber.core.model import Model, ModelError
from emocaliber.core.samples import Sample
from emocaliber.errors import UserError, missing_packages
from emocaliber.inference.engine import respond, response_row
from emocaliber.inference.plan import RunConfig
from emocaliber.io.images import ImageLimits
from emocaliber.io.plugins import load_plugins
from emocaliber.io.rows import Row
from emocaliber.io.workspace import package_version
from emocaliber.models.strategies import apply
from emocaliber.models.unloaded import UnloadedModel
from emocaliber.render.terminal import say

MOST_ATTEMPTS = 4  # how often a task is begun before it is set aside
_LARGE = 512  # samples of a task for a model without a window: several times what vLLM answers at once
_CORES = 4  # of a worker without a GPU
_TOLERATED = 3  # tasks set aside, beyond those that went well, before the fault is the model's and not a picture's
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

Window = tuple[Sequence[Sample], frozenset[str]]  # samples that are asked about together, and the ids of those whose rows are there


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many workers have a model, and the cores and GPUs of each; None: as `sized` says."""

    workers: int | None = None
    worker_cpus: float | None = None
    worker_gpus: float | None = None

    def sized(self, cpus: float, gpus: float, *, needed_gpus: float = 1) -> tuple[int, float, float]:
        """The number of workers, and the cores and GPUs of each, in a cluster of so many; the model needs `needed_gpus` if there are any.

        By default there is a worker for every such share of the GPUs, with one core; without GPUs one for every four cores, with these.
        """
        each_gpus = self.worker_gpus if self.worker_gpus is not None else needed_gpus if gpus else 0.0
        each_cpus = self.worker_cpus or (1.0 if each_gpus else min(float(_CORES), max(cpus // (self.workers or 1), 1.0)))
        most = gpus // each_gpus if each_gpus else cpus // each_cpus
        return self.workers or max(int(most), 1), each_cpus, each_gpus


def windows(samples: Sequence[Sample], size: int | None, done: Collection[str]) -> Iterator[Window]:
    """The windows of `size` samples that hold one whose id is not in `done`; without a size, some hundred missing samples at a time.

    They are cut from all samples, as the engine cuts them, so that a resumed run asks the same windows as an uninterrupted one.
    """
    if size is None:
        samples, done = [sample for sample in samples if sample.id not in done], ()
    for start in range(0, len(samples), size or _LARGE):
        part = samples[start : start + (size or _LARGE)]
        there = frozenset(sample.id for sample in part if sample.id in done)
        if len(there) < len(part):
            yield part, there


@dataclass
class RayEngine:
    """Asks by workers of the Ray cluster at RAY_ADDRESS, or of one that is started on this machine for as long as it asks.

    `plugins` are those named on the command line, which workers load too. `answered` counts rows by the worker that gave them.
    """

    workers: Workers = field(default_factory=Workers)
    plugins: Sequence[str] = ()
    answered: Counter[str] = field(default_factory=Counter)

    def described(self, config: RunConfig, settings: Mapping[str, Any]) -> Model:
        """The model as its card describes it. Raises UserError for what workers cannot ask, before any is started."""
        if models.kind_of(config.model) == "openai":
            raise UserError(
                f"{config.model} is asked by one process, which keeps hundreds of requests going and counts what they cost; leave out "
                "--engine ray, and give --concurrency, and --base-url for each server"
            )
        _ray()
        models.check_model(config.model, settings)
        return apply(config.strategy, UnloadedModel(config.model, temperature=float(settings.get("temperature", 0))), config.lenient)

    def respond(
        self,
        config: RunConfig,
        settings: Mapping[str, Any],
        samples: Sequence[Sample],
        *,
        done: Collection[str],
        folder: Path,
        limits: ImageLimits,
        calibrators: Calibrators | None,
    ) -> Iterator[Row]:
        """The rows of `engine.respond` for the samples whose id is not in `done`, as they come: not in the order of the samples.

        A window whose task fails or ends its worker `MOST_ATTEMPTS` times is asked sample by sample; one that does so alone has the error
        "worker_failed". Raises UserError where the model refuses to continue, and where most tasks fail.
        """
        folder = folder.absolute()  # workers are elsewhere
        asked = {"prompt": config.prompt, "lenient": config.lenient, "confidence": config.confidence}
        job = {"model": config.model, "settings": dict(settings), "strategy": config.strategy, "lenient": config.lenient}
        job["asked"] = asked | {"folder": folder, "limits": limits, "calibrators": calibrators}
        local = models.kind_of(config.model) == models.LOCAL
        cut = windows(samples, _local_window(settings) if local else None, done)
        with _cluster() as started:
            pool = self._pool(settings, started)
            aside = yield from self._ask(pool, job, list(cut))
            if not aside:
                return
            say(f"{len(aside):,} of the tasks failed or ended their workers; their samples are asked about one by one")
            singly: list[Window] = [([each], frozenset()) for (part, there), _ in aside for each in part if each.id not in there]
            model = UnloadedModel(config.model)
            known = calibrators or model.calibrators
            failed = yield from self._ask(pool, job, singly, tolerated=len(singly))
            if len(failed) > _TOLERATED and not self.answered.total():  # not for what is in the pictures
                raise UserError(f"no worker gave any row; of the last: {failed[-1][1]}")
            for ((sample,), _), why in failed:
                error = ModelError("worker_failed", why)
                yield response_row(sample, None, error, None, model, config.prompt, config.lenient, folder, known)

    def report(self) -> dict[str, Any]:
        """What the record of a run says of it: Ray's version, and the rows that each worker gave."""
        return {"ray": {"version": _ray().__version__, "workers": dict(self.answered)}}

    def _pool(self, settings: Mapping[str, Any], started: bool) -> dict[str, Any]:
        """The arguments of `map_batches` that say who works. Raises UserError for more than there is on this machine."""
        there = _ray().cluster_resources()
        cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
        needed = 0 if settings.get("device") == "cpu" else settings.get("tensor_parallel_size", 1)
        count, each_cpus, each_gpus = self.workers.sized(cpus, gpus, needed_gpus=needed)
        if count * each_cpus > cpus or count * each_gpus > gpus:
            wanted, found = f"{count} x {each_cpus:g} cores and {each_gpus:g} GPUs", f"{cpus:g} cores and {gpus:g} GPUs"
            if started:
                raise UserError(f"the workers need {wanted}, and this machine has {found}; give fewer --workers, or less to each")
            say(f"the workers need {wanted}, and the cluster has {found} now; those that find no place wait until it grows")
        return {"size": count, "num_cpus": each_cpus, "num_gpus": each_gpus or None}

    def _ask(
        self, pool: dict[str, Any], job: Mapping[str, Any], parts: list[Window], *, tolerated: int = _TOLERATED
    ) -> Generator[Row, None, list[tuple[Window, str]]]:
        """Yields the rows of all windows; returns the windows that were set aside, each with the reason."""
        ray = _ray()
        from ray import cloudpickle
        from ray.data import ActorPoolStrategy, from_items

        attempts = ray.remote(Attempts).options(num_cpus=0, max_restarts=-1).remote()
        given = (os.getcwd(), package_version(), tuple(self.plugins), cloudpickle.dumps(job), attempts)
        items = [{"number": number, "window": pickle.dumps(window)} for number, window in enumerate(parts)]
        found = from_items(items, override_num_blocks=len(items)).map_batches(
            Worker,
            compute=ActorPoolStrategy(size=min(pool["size"], len(parts))),
            num_cpus=pool["num_cpus"],
            num_gpus=pool["num_gpus"],
            batch_size=1,
            batch_format="numpy",
            fn_constructor_args=given,
        )
        del items
        answered: set[int] = set()
        aside: list[tuple[Window, str]] = []
        for batch in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for number, result in zip(batch["number"].to_pylist(), map(json.loads, batch["result"].to_pylist()), strict=True):
                if "refusal" in result:
                    raise UserError(result["refusal"])
                if number in answered:
                    continue
                answered.add(number)
                if "failure" in result:
                    aside.append((parts[number], result["failure"]))
                    if len(aside) > tolerated + len(answered) - len(aside):
                        raise UserError(f"{len(aside)} of the first {len(answered)} tasks failed; of the last: {result['failure']}")
                for row in result.get("rows", ()):
                    self.answered[result["worker"]] += 1
                    yield row
        return aside


class Attempts:
    """Counts how often each task was begun, in a process that outlives the workers."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()

    def begin(self, number: int) -> int:
        """The number of times that the task was begun, this one included."""
        self._begun[number] += 1
        return self._begun[number]


class Worker:
    """One worker with its model: turns windows into rows. What it cannot do is a result too, so that the others go on.

    `home` is the folder in which the command was given, `version` that of its package; `job` the model and the arguments of `respond`.
    """

    def __init__(self, home: str, version: str, plugins: Sequence[str], job: bytes, attempts: Any) -> None:
        self._attempts, self._who = attempts, f"{socket.gethostname()}:{os.getpid()}"
        try:
            if package_version() != version:
                raise UserError(f"{socket.gethostname()} has emocaliber {package_version()}, and the command {version}; install the same")
            if os.path.isdir(home):
                os.chdir(home)  # from which relative paths are read
            load_plugins(plugins)
            given = pickle.loads(job)
            self._asked: dict[str, Any] = given["asked"]
            self._model = apply(given["strategy"], models.load_model(given["model"], **given["settings"]), given["lenient"])
            self._refusal: str | None = None
        except UserError as error:
            self._refusal = str(error)
        except Exception as error:  # Ray would begin it again and again
            self._refusal = f"the model cannot be loaded on {socket.gethostname()} ({type(error).__name__}: {error})"

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The result of the one window in the batch, as JSON: `rows`, a `failure`, or the `refusal` of the model to continue."""
        result = self._result(int(batch["number"][0]), batch["window"][0])
        return {"number": batch["number"], "result": [json.dumps(result | {"worker": self._who})]}

    def _result(self, number: int, window: bytes) -> dict[str, Any]:
        import ray

        if self._refusal:
            return {"refusal": self._refusal}
        if (attempt := ray.get(self._attempts.begin.remote(number))) > MOST_ATTEMPTS:
            return {"failure": f"the worker ended {attempt - 1} times while it asked about this; the logs of Ray may say why"}
        samples, there = pickle.loads(window)
        try:
            return {"rows": list(respond(samples, self._model, done=there, **self._asked))}
        except UserError as error:
            self._refusal = str(error)
            return {"refusal": self._refusal}
        except Exception as error:
            return {"failure": " ".join(f"{type(error).__name__}: {error}".split())}


def _local_window(settings: Mapping[str, Any]) -> int:
    from emocaliber.models.local import LocalModel

    return LocalModel.window_of(settings["batch_size"]) if "batch_size" in settings else LocalModel.window_of()


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_packages("ray", "--engine ray", error) from error
    return ray


def _join(ray: Any, address: str) -> None:
    alone = {"include_dashboard": False} if address == "local" else {}
    for again in (True, False):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **alone)
            return
        except Exception as error:  # Ray raises plain ones: a busy machine may not start its processes in the time that they are given
            why = str(error).splitlines()[0]
            if address != "local":
                raise UserError(f"the Ray cluster at RAY_ADDRESS={address} cannot be joined: {why}") from error
            if not again:
                raise UserError(f"Ray cannot be started on this machine, twice: {why}") from error
            ray.shutdown()


@contextmanager
def _cluster() -> Iterator[bool]:
    """Within this context there is a cluster; yields whether it was started here, on this machine alone."""
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    ray = _ray()
    joined, address = ray.is_initialized(), os.environ.get("RAY_ADDRESS") or "local"
    try:
        if not joined:
            _join(ray, address)
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield not joined and address == "local"
    except ray.exceptions.RayError as error:
        raise UserError(f"Ray stopped ({type(error).__name__}: {str(error).strip().splitlines()[-1]}); --resume continues") from error
    finally:
        if not joined:
            ray.shutdown()
