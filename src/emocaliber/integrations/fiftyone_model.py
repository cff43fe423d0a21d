"""A model of this package as FiftyOne applies it: `dataset.apply_model(model, label_field="evoked", batch_size=16)`.

Importing this module needs fiftyone and torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

try:
    import fiftyone as fo
    import fiftyone.core.models as fom
    import fiftyone.utils.torch as fout
except ImportError as error:
    raise ImportError(f"a model for FiftyOne needs it and torchvision ({error}): pip install fiftyone torchvision") from error

from emocaliber.models.shipped import DEFAULT_MODEL
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Query, load


class EmotionModel(fom.Model, fom.SupportsGetItem, fom.TorchModelMixin):
    """Labels images with the emotion they evoke. `model` is what `emocaliber.load` takes, and so are further `settings`.

    `task` or `labels` say what can be answered; `min_confidence` or `certificate` decide what is `accepted`. Images are opened by this
    package, within its limits; a broken one gets a label without a name and its `error`, and no other image of its batch suffers.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        task: str | None = None,
        labels: str | Sequence[str] | None = None,
        min_confidence: float | None = None,
        certificate: str | None = None,
        **settings: Any,
    ) -> None:
        self.predictor = load(model, **settings)
        self.query = Query.of(task, labels, min_confidence, certificate)
        self.warnings = self.predictor.warnings(self.query)
        self._preprocess = True

    @property
    def media_type(self) -> str:
        """FiftyOne applies it to images."""
        return "image"

    @property
    def ragged_batches(self) -> bool:
        """False: a batch is a list of paths, and FiftyOne makes no batches where this is true."""
        return False

    @property
    def transforms(self) -> None:
        """None: images are opened and resized here."""
        return None

    @property
    def preprocess(self) -> bool:
        """FiftyOne sets it while it applies a model; it changes nothing here."""
        return self._preprocess

    @preprocess.setter
    def preprocess(self, value: bool) -> None:
        self._preprocess = value

    @property
    def has_collate_fn(self) -> bool:
        """A batch is the list of its paths."""
        return True

    @staticmethod
    def collate_fn(batch: Sequence[Any]) -> list[Any]:
        """The batch as it is."""
        return list(batch)

    def build_get_item(self, field_mapping: dict[str, str] | None = None) -> PathOfSample:
        """What FiftyOne's loader reads of a sample: its path."""
        return PathOfSample(field_mapping=field_mapping)

    def predict(self, arg: Any) -> fo.Classification:
        """The label of one image: a path, a Pillow image, an array, or a dict with `filepath`."""
        return self.predict_all([arg])[0]

    def predict_all(self, args: Iterable[Any]) -> list[fo.Classification]:
        """The labels of a batch of images, which are asked together."""
        images = [arg["filepath"] if isinstance(arg, dict) else arg for arg in args]
        return [classification(each) for each in self.predictor.ask(images, self.query)]


class PathOfSample(fout.GetItem):
    """A sample's path, which the model opens itself."""

    @property
    def required_keys(self) -> list[str]:
        """The fields of a sample that are read."""
        return ["filepath"]

    def __call__(self, values: dict[str, Any]) -> str:
        return str(values["filepath"])


def classification(found: Prediction) -> fo.Classification:
    """A prediction as FiftyOne has it: label and confidence, and as attributes what else a row has; without a label where it failed."""
    if found.error:
        return fo.Classification(label=None, error=f"{found.error.code}: {found.error.message}")
    further: dict[str, Any] = {
        "source": found.confidence_source,
        "alternatives": [f"{label} {share:.3f}" for label, share in found.alternatives.items()],
        "abstained": None if found.accepted is None else not found.accepted,
        "people": found.people,
        "untaught": found.untaught,
        "reasoning": found.reasoning.analysis if found.reasoning else None,
    }
    return fo.Classification(
        label=found.emotion, confidence=found.confidence, **{name: value for name, value in further.items() if value is not None}
    )
