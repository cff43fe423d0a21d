"""transformers' `pipeline("visual-emotion")`: the output of an image classification, whose score is calibrated, and the reasons beside it.

Importing this module adds the task to transformers; `pipeline` is transformers' own. The interface is that of "Add a new pipeline" in
transformers' documentation: https://huggingface.co/docs/transformers/add_new_pipeline
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset
from transformers import AutoModelForImageTextToText, Pipeline, pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from emocaliber.errors import UserError
from emocaliber.io.rows import write_atomically
from emocaliber.models.card import CARD, NOTICE, read_calibrators, read_card
from emocaliber.models.decision import DECISION_FILES
from emocaliber.models.local import LocalModel
from emocaliber.models.processor import load_processor
from emocaliber.models.shipped import DEFAULT_MODEL, checkpoint_of
from emocaliber.predict.given import ImageSource, refuse_address
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import RETRIES, GivenLabels, Predictor, Query
from emocaliber.trust.certificate_file import Certificate, read_certificate

__all__ = ["TASK", "VisualEmotionPipeline", "pipeline"]

TASK = "visual-emotion"
RAISE, RETURN = "raise", "return"  # what becomes of an image that gets no answer
_LEFT_OUT = ("image", "task", "emotion", "confidence", "alternatives", "error", "seconds")  # of a prediction's row, in the first entry
_MODULE = '''\
"""The pipeline of this model for transformers, which needs the package emocaliber."""

from emocaliber.integrations.visual_emotion import VisualEmotionPipeline

__all__ = ["VisualEmotionPipeline"]
'''


class VisualEmotionPipeline(Pipeline):
    """Which emotion an image evokes: `[{"label", "score"}, ...]`, the answer first.

    The score of the answer is the confidence of `emocaliber predict`: calibrated where the question has a calibrator. The others share the
    rest (see `spread`). The first entry has the fields of a prediction's row beside these: `reasoning`, `accepted`, `people`,
    `confidence_source` and so on; every entry has `probability`, the model's own.

    Arguments, of the pipeline or of a call: `subtask` (a task of VECBench, by default EmoSet-8) or `labels` of one's own; `min_confidence`
    or `certificate`, which decide `accepted`; `top_k`, the number of entries (5); `errors`: "raise" a UserError for an image that cannot be
    used and an answer that cannot be read, or "return" one entry without label and score, with the `error`. Of the pipeline alone:
    `confidence`, the source of the score, and `calibrator`, a file of `emocaliber calibrate fit`, as in `emocaliber.load`. With the default
    dtype "auto" the weights are float32 on a CPU and bfloat16 elsewhere, as in all commands.

    An image is a path, the bytes of a file, an open file, a Pillow image, an array or a tensor. Lists, generators and torch data sets are
    answered in batches of `batch_size`, by default 32.
    """

    _load_processor = _load_tokenizer = _load_image_processor = _load_video_processor = _load_feature_extractor = False

    def __init__(
        self,
        model: Any,
        *args: Any,
        processor: Any = None,
        dtype: Any = "auto",
        confidence: str | None = None,
        calibrator: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        folder = str(model.name_or_path)
        super().__init__(model, *args, processor=processor or load_processor(folder), dtype=dtype, **kwargs)
        if dtype in (None, "auto"):
            self.model.to(torch.float32 if self.device.type == "cpu" else torch.bfloat16)
        card = read_card(folder)
        asked = LocalModel.of(
            *(self.model, self.processor), card=card, name=folder, batch_size=self._batch_size or 32, retries=RETRIES, free=False
        )
        known = None if calibrator is None else read_calibrators(calibrator).for_model(asked.name, None)
        self.predictor = Predictor(asked, confidence, known, folder)
        self._warned: set[str] = set()

    def _sanitize_parameters(
        self,
        subtask: str | None = None,
        labels: GivenLabels | None = None,
        min_confidence: float | None = None,
        certificate: Certificate | str | os.PathLike[str] | None = None,
        top_k: int | None = None,
        errors: str | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if isinstance(certificate, str | os.PathLike):
            certificate = read_certificate(certificate)
        if errors not in (None, RAISE, RETURN):
            raise UserError(f"errors is {errors!r}; give {RAISE!r} or {RETURN!r}")
        if top_k is not None and top_k < 1:
            raise UserError(f"top_k is {top_k}; give 1 or more")
        asked: dict[str, Any] = {"subtask": subtask, "labels": labels, "min_confidence": min_confidence, "certificate": certificate}
        shown: dict[str, Any] = {"top_k": top_k, "errors": errors}
        forward, after = ({name: value for name, value in each.items() if value is not None} for each in (asked, shown))
        if "labels" in forward and subtask is None:
            forward["subtask"] = None  # labels of a call take the place of the pipeline's subtask
        if "subtask" in forward and labels is None:
            forward["labels"] = None
        Query.of(subtask, labels, min_confidence, certificate)  # so that a wrong argument is refused before any image is read
        return {}, forward, after

    def preprocess(self, image: ImageSource) -> dict[str, Any]:
        """The image as it is: it is opened as in `emocaliber predict`. Raises UserError for an address of the web."""
        refuse_address(image)
        return {"image": image}

    def _forward(self, model_inputs: Mapping[str, Any], **asked: Any) -> dict[str, Any]:
        (prediction,) = self._predictions(iter([model_inputs["image"]]), asked)
        return {"prediction": prediction}

    def postprocess(self, model_outputs: Mapping[str, Any], top_k: int = 5, errors: str = RAISE) -> list[dict[str, Any]]:
        """The entries of a prediction. Raises UserError for one that failed, unless `errors` is "return"."""
        prediction: Prediction = model_outputs["prediction"]
        if prediction.error and errors == RAISE:
            raise UserError(prediction.error.message)
        return entries_of(prediction)[:top_k]

    def get_iterator(
        self, inputs: Any, num_workers: int, batch_size: int, preprocess_params: Any, forward_params: Any, postprocess_params: Any
    ) -> Iterator[list[dict[str, Any]]]:
        """The outputs for many images, in order, answered in batches; `num_workers` have nothing to do."""
        if batch_size > 1:
            self.predictor.model.batch_size = batch_size  # type: ignore[attr-defined]
        by_place = isinstance(inputs, Dataset) and not isinstance(inputs, IterableDataset)
        listed: Iterator[Any] = (inputs[place] for place in range(len(inputs))) if by_place else iter(inputs)
        images = (self.preprocess(each, **preprocess_params)["image"] for each in listed)
        for prediction in self._predictions(images, forward_params):
            yield self.postprocess({"prediction": prediction}, **postprocess_params)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Saves weights, processor, card and what `pipeline(..., trust_remote_code=True)` needs to find this class where nobody imports it.

        Such a folder asks for that flag everywhere; those that `emocaliber train export` writes run no code of their own.
        """
        super().save_pretrained(save_directory, **kwargs)
        folder = Path(save_directory)
        self.processor.save_pretrained(folder)
        write_atomically(folder / f"{__name__.rpartition('.')[2]}.py", _MODULE)
        for name in (CARD, NOTICE, *DECISION_FILES):
            if (file := Path(self.model.name_or_path) / name).is_file():
                shutil.copy(file, folder / name)

    def _predictions(self, images: Iterator[ImageSource], asked: Mapping[str, Any]) -> Iterator[Prediction]:
        query = Query.of(asked.get("subtask"), asked.get("labels"), asked.get("min_confidence"), asked.get("certificate"))
        for sentence in (*(self.predictor.model.notice or "").splitlines(), *self.predictor.warnings(query)):
            if sentence not in self._warned:
                self._warned.add(sentence)
                warnings.warn(sentence, stacklevel=4)
        return self.predictor.ask(images, query)


def entries_of(prediction: Prediction) -> list[dict[str, Any]]:
    """A prediction as the entries of an image classification, the answer first; the others by the model's own probabilities.

    A prediction that failed has one entry, without label and score and with its `error`. Where the model gives no distribution, the answer
    stands alone; where it gives no confidence, the answer's score is None.
    """
    row = prediction.to_row()
    beside = {name: value for name, value in row.items() if name not in _LEFT_OUT}
    if row["error"]:
        return [{"label": None, "score": None, "probability": None, **beside, "error": row["error"]}]
    answer, own = str(prediction.emotion), dict(prediction.alternatives)
    first = {"label": answer, "score": prediction.confidence, "probability": own.pop(answer, None), **beside}
    if prediction.confidence is None:
        return [first]
    shares = spread(prediction.confidence, own)
    others = sorted(own, key=lambda label: -own[label])
    return [first, *({"label": label, "score": shares[label], "probability": own[label]} for label in others)]


def spread(score: float, others: Mapping[str, float]) -> dict[str, float]:
    """The scores of the labels that were not answered: what the answer's `score` leaves, in proportion to the model's own probabilities.

    None is above the answer's: what would be goes to the rest of them. So scores sum to 1 (unless `score` is below one over the number of
    labels), and this is the distribution closest to the model's own, by its divergence, in which the answer has its score and is the
    likeliest.
    """
    shares: dict[str, float] = {}
    left, free = 1 - score, dict(others)
    while free:
        total = sum(free.values())
        given = {label: left * (own / total if total else 1 / len(free)) for label, own in free.items()}
        over = [label for label, share in given.items() if share > score]
        if not over:
            return shares | given
        for label in over:
            shares[label] = score
            left -= score
            del free[label]
    return shares


if TASK not in PIPELINE_REGISTRY.supported_tasks:
    PIPELINE_REGISTRY.register_pipeline(
        TASK,
        pipeline_class=VisualEmotionPipeline,
        pt_model=AutoModelForImageTextToText,
        default={"model": (checkpoint_of(DEFAULT_MODEL), None)},
        type="multimodal",
    )
