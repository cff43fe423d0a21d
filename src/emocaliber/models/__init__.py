"""Models that answer questions about images, loaded by name. Torch is imported only when a model that needs it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from emocaliber.errors import UserError, did_you_mean
from emocaliber.models.available import check_available
from emocaliber.models.shipped import DEFAULT_MODEL, SHIPPED, TINY, checkpoint_of

if TYPE_CHECKING:
    from emocaliber.core.model import Model

LOCAL = "local"

__all__ = [
    "DEFAULT_MODEL",
    "LOCAL",
    "SHIPPED",
    "TINY",
    "check_model",
    "checkpoint_of",
    "kind_of",
    "load_model",
]


def load_model(name: str = DEFAULT_MODEL, **settings: Any) -> Model:
    """The model called `name`.

    "lite" and "tiny" (shipped with the package), a checkpoint folder or a hub id give a `LocalModel`, "vllm:ID" a `VllmModel`,
    "openai:MODEL" a `RemoteModel`, "recorded:FILE" a `RecordedModel`. `settings` are keyword arguments of that class. Raises UserError for
    an unknown setting, and for a model that cannot be loaded.
    """
    check_model(name, settings)
    kind = kind_of(name)
    what = name.partition(":")[2] if kind != LOCAL else checkpoint_of(name)
    return _class_of(kind)(what, **settings)


def check_model(name: str, settings: Collection[str] = ()) -> None:
    """Raises UserError, before anything is loaded, for a model that is not there and for a setting that its kind does not have."""
    kind = kind_of(name)
    check_available(name, kind)
    make = _class_of(kind)
    known = [each.name for each in signature(make).parameters.values() if each.kind is Parameter.KEYWORD_ONLY]
    if unknown := next((setting for setting in settings if setting not in known), None):
        close = did_you_mean(unknown, known)
        raise UserError(f"models of the kind {kind!r} have no setting {unknown!r}; their settings are {', '.join(known)}{close}")


def kind_of(name: str) -> str:
    """The kind of the model called `name`: the prefix before its colon ("vllm", "openai" or "recorded"), else "local"."""
    kind = name.partition(":")[0]
    return kind if kind in ("vllm", "openai", "recorded") else LOCAL


def _class_of(kind: str) -> Callable[..., Model]:
    if kind == "vllm":
        from emocaliber.models.vllm import VllmModel

        return VllmModel
    if kind == "openai":
        from emocaliber.models.openai.model import RemoteModel

        return RemoteModel
    if kind == "recorded":
        from emocaliber.models.recorded import RecordedModel

        return RecordedModel
    from emocaliber.models.local import LocalModel

    return LocalModel
