"""An ML backend for Label Studio: it predicts tasks, keeps people's annotations, and fits a calibrator on them when training is started.

Everything lies in one folder: annotations.jsonl, a row for each as it comes, and calibrator.json, which later predictions use.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emocaliber.core.samples import Sample
from emocaliber.errors import UserError
from emocaliber.inference.engine import respond
from emocaliber.integrations.label_studio import Interface, Sources, annotated_label, prediction, votes_of
from emocaliber.io.images import ImageError, OpenedImage, read_image
from emocaliber.io.rows import RowWriter, read_rows
from emocaliber.predict.predictor import Predictor
from emocaliber.render.terminal import say
from emocaliber.serving.standards.options import Options, choice_options
from emocaliber.trust.calibrate import calibrate
from emocaliber.vecbench.sources.reader import majority_label

_MOST_BODY = 64_000_000  # bytes


class Backend:
    """The state of a backend: the model with its calibrator, and the annotations so far. Its methods are called by one thread at a time.

    `loaded` gives the model with the calibrator in a file, or without one. `kept` is the folder; a calibrator in it is used from the start.
    """

    def __init__(self, loaded: Callable[[Path | None], Predictor], kept: Path, sources: Sources) -> None:
        self._load, self.kept, self.sources = loaded, kept, sources
        kept.mkdir(parents=True, exist_ok=True)
        self.annotations, self.calibrator = kept / "annotations.jsonl", kept / "calibrator.json"
        self.lock = threading.Lock()
        self.predictor = self._loaded()
        self.version = self._version()

    def _loaded(self) -> Predictor:
        return self._load(self.calibrator if self.calibrator.is_file() else None)

    def _version(self) -> str:
        if not self.calibrator.is_file():
            return self.predictor.model.name
        return f"{self.predictor.model.name}+{hashlib.sha256(self.calibrator.read_bytes()).hexdigest()[:8]}"

    def predict(self, tasks: list[Mapping[str, Any]], configuration: str) -> list[dict[str, Any]]:
        """A prediction for each task, in order; an empty one where its image cannot be had or used."""
        interface = Interface.of(configuration)
        options = choice_options(interface.choices)
        with self.lock:
            images = [self._opened(task, interface) for task in tasks]
            found = list(self.predictor.ask_each([(image, options.query) for image in images]))
        named = _named(options)
        made = [prediction(each.to_row(), interface, named, self.version) for each in found]
        for one, each in zip(made, found, strict=True):
            if each.error:
                one["error"] = f"{each.error.code}: {each.error.message}"  # for whoever asks the backend; Label Studio reads it not
        return made

    def _opened(self, task: Mapping[str, Any], interface: Interface) -> OpenedImage | ImageError:
        address = (task.get("data") or {}).get(interface.field)
        try:
            if not isinstance(address, str) or not address:
                raise ImageError("not_found", f"task {task.get('id')} has no {interface.field!r} in its data")
            return read_image(self.sources.read(address), name=address[:80])
        except ImageError as error:
            return error

    def annotate(self, event: Mapping[str, Any], configuration: str) -> None:
        """Keeps an annotation that was created or changed; one without a single label withdraws that person's earlier one."""
        interface = Interface.of(configuration)
        annotation, task = event["annotation"], event["task"]
        with self.lock, RowWriter(self.annotations, resume=True, key="task") as writer:
            writer.write(_row(task, annotation, interface))

    def _rows(self, project: str, configuration: str) -> list[dict[str, Any]]:
        """The annotations: of Label Studio itself where its key is known, else those that came by the webhook."""
        tasks = self.sources.annotated(project) if project and configuration else None
        if tasks is None:
            return list(read_rows(self.annotations)) if self.annotations.is_file() else []
        interface = Interface.of(configuration)
        return [_row(task, annotation, interface) for task in tasks for annotation in task.get("annotations") or ()]

    def fit(self, project: str = "", configuration: str = "") -> dict[str, Any]:
        """Asks the model about all annotated images, and fits a calibrator on its answers.

        The annotations are those that Label Studio has of the project, if its key is known; else those that came by the webhook.

        Returns what `calibrator.json` holds as `calibrator`, the number of tasks the model was asked about as `tasks`, the `notes` of the
        fit, and as `left_out` a sentence for each task that taught nothing: its image cannot be read, as many people chose one label as
        another, or it was annotated under other choices. People's majority is the truth.
        Raises UserError where there are too few annotations, with the same sentences.
        """
        with self.lock:
            rows = self._rows(project, configuration)
            if not rows:
                earlier = (
                    "" if self.sources.token else " (those made before this backend was connected are read with LABEL_STUDIO_API_KEY alone)"
                )
                raise UserError(f"there are no annotations yet; a calibrator needs at least 50 tasks with a label{earlier}")
            with tempfile.TemporaryDirectory() as folder:
                samples, left_out = self._annotated(rows, Path(folder))
                if not samples:
                    raise UserError(told(["no annotated task can teach anything, so nothing was fitted", *left_out]))
                answered = list(respond(samples, self.predictor.model))
            found = calibrate(answered)
            if not found.calibrators.questions:
                raise UserError(told([*(found.notes or ("no calibrator could be fitted on these annotations",)), *left_out]))
            found.save(self.calibrator)
            self.predictor = self._loaded()
            self.version = self._version()
            return {"calibrator": dict(found.content), "tasks": len(samples), "left_out": left_out, "notes": list(found.notes)}

    def _annotated(self, rows: list[dict[str, Any]], folder: Path) -> tuple[list[Sample], list[str]]:
        """The annotated tasks as samples, whose images are put into the folder, and why each of the others is none."""
        images = {str(row["task"]): row["image"] for row in rows}
        choices = rows[-1]["choices"]
        options = choice_options(choices)
        to_label = dict(zip(options.names, options.labels, strict=True))
        votes = votes_of(row for row in rows if row["choices"] == choices)
        samples: list[Sample] = []
        left_out: list[str] = []
        for task in images:
            if task not in votes:
                if any(row["label"] is not None and str(row["task"]) == task for row in rows):
                    left_out.append(f"task {task}: it was annotated under other choices than the last annotation")
                continue  # skipped or withdrawn by everybody
            if (first := majority_label(votes[task])) is None:
                left_out.append(f"task {task}: as many people chose one label as another")
                continue
            address = images[task]
            try:
                if not address:
                    raise ImageError("not_found", "no image in its data")
                data = self.sources.read(address)
                read_image(data, name=address[:80])
            except ImageError as error:
                left_out.append(f"task {task}: {error}")
                continue
            file = folder / f"{len(samples)}"
            file.write_bytes(data)
            counts = {to_label[name]: count for name, count in votes[task].items()}
            query = options.query
            samples.append(Sample(task, str(file), query.task, query.candidates, to_label[first], "label-studio", "train", counts))
        return samples, left_out


def told(sentences: Sequence[str], most: int = 10) -> str:
    """Sentences in one, of which the first `most` are named and the rest counted."""
    more = [f"and {len(sentences) - most} more"] if len(sentences) > most else []
    return "; ".join([*sentences[:most], *more])


def create_backend_app(backend: Backend, secret: tuple[str, str] | None = None) -> Starlette:
    """The application that Label Studio talks to. With a `secret`, every request but /health must give it as name and password."""
    known: dict[str, str] = {}  # the configuration of each project, from its setup

    async def body(request: Request) -> dict[str, Any]:
        held = bytearray()
        async for part in request.stream():
            held += part
            if len(held) > _MOST_BODY:
                raise UserError(f"the request is larger than {_MOST_BODY:,} bytes")
        try:
            content = json.loads(held or b"{}")
        except ValueError as error:
            raise UserError(f"the request is no JSON ({error})") from error
        if not isinstance(content, dict):
            raise UserError("the request must be a JSON object")
        return content

    async def setup(request: Request) -> Response:
        content = await body(request)
        configuration = str(content.get("schema") or "")
        Interface.of(configuration)  # refuses one that this backend cannot answer
        known[_project(content)] = configuration
        return JSONResponse({"model_version": backend.version})

    async def predict(request: Request) -> Response:
        content = await body(request)
        configuration = str(content.get("label_config") or known.get(_project(content)) or "")
        tasks = content.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise UserError("'tasks' must be a list of tasks")
        results = await asyncio.to_thread(backend.predict, tasks, configuration)
        return JSONResponse({"results": results, "model_version": backend.version})

    async def webhook(request: Request) -> Response:
        content = await body(request)
        action, configuration = (
            content.get("action"),
            (content.get("project") or {}).get("label_config") or known.get(_project(content), ""),
        )
        if action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED") and content.get("annotation") and content.get("task"):
            await asyncio.to_thread(backend.annotate, content, str(configuration))
            return JSONResponse({"result": "ok", "status": "kept"}, 201)
        if action == "START_TRAINING":
            return await fit(_project(content), str(configuration))
        return JSONResponse({"result": "ok", "status": "ignored"})

    async def train(request: Request) -> Response:
        content = await body(request)
        project = _project(content)
        return await fit(project, str(content.get("label_config") or known.get(project, "")))

    async def fit(project: str, configuration: str) -> Response:
        try:
            found = await asyncio.to_thread(backend.fit, project, configuration)
        except UserError as error:
            say(f"nothing was fitted: {error}")  # Label Studio shows its users little of an answer
            raise
        say(told([f"calibrator of {found['tasks']} tasks, {len(found['left_out'])} left out", *found["left_out"], *found["notes"]]))
        return JSONResponse({"result": "ok", "model_version": backend.version, **found}, 201)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "UP", "model_class": "EmoCaliber", "model_version": backend.version})

    async def versions(_: Request) -> Response:
        return JSONResponse({"versions": [backend.version]})

    async def nothing(_: Request) -> Response:
        return JSONResponse({})

    def guarded(handler: Any) -> Any:
        async def answer(request: Request) -> Response:
            if secret and not _allowed(request, secret):
                return JSONResponse({"error": "name and password are needed"}, 401, {"WWW-Authenticate": "Basic"})
            try:
                found: Response = await handler(request)
            except (UserError, KeyError, TypeError, AttributeError) as error:
                told = str(error) if isinstance(error, UserError) else f"the request lacks or misuses {error}"
                return JSONResponse({"error": told}, 400)
            return found

        return answer

    routes = {"/setup": setup, "/predict": predict, "/webhook": webhook, "/train": train}
    return Starlette(
        routes=[
            *(Route(path, guarded(handler), methods=["POST"]) for path, handler in routes.items()),
            Route("/versions", guarded(versions), methods=["GET", "POST"]),
            Route("/metrics", guarded(nothing), methods=["GET"]),
            Route("/health", health, methods=["GET"]),
            Route("/", health, methods=["GET"]),
        ]
    )


def _named(options: Options) -> dict[str, str]:
    return dict(zip(options.labels, options.names, strict=True))


def _project(content: Mapping[str, Any]) -> str:
    """The number of the project: 7 in "7.1667...", which setup and predict send, and in the object that a webhook sends."""
    project = content.get("project")
    return str(project.get("id")) if isinstance(project, Mapping) else str(project).partition(".")[0]


def _row(task: Mapping[str, Any], annotation: Mapping[str, Any], interface: Interface) -> dict[str, Any]:
    """An annotation as a row of annotations.jsonl."""
    return {
        "task": task.get("id"),
        "image": (task.get("data") or {}).get(interface.field),
        "person": _person(annotation),
        "label": annotated_label(annotation, interface),
        "choices": list(interface.choices),
    }


def _person(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    return str(who.get("id")) if isinstance(who, Mapping) else str(who)


def _allowed(request: Request, secret: tuple[str, str]) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    wanted = base64.b64encode(":".join(secret).encode()).decode()
    return scheme.lower() == "basic" and hmac.compare_digest(given.strip().encode(), wanted.encode())
