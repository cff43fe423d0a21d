"""Whether a model can be there, checked before anything heavy is imported and without waiting long for the network."""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib.util import find_spec

from emocaliber.errors import UserError, missing_packages
from emocaliber.models.shipped import SHIPPED
from emocaliber.render.terminal import say

LOCAL_PACKAGES = ("torch", "transformers", "safetensors")  # what a model that runs here needs, and nothing else does
_WAIT = 5.0  # seconds for the hub to take a connection
_PATHS = ("/", "./", "../", "~", ".\\", "..\\")  # beginnings of names that are paths, not hub ids


def check_available(name: str, kind: str) -> None:
    """Raises UserError if the model called `name` cannot be loaded: it is misspelt, its packages are missing, or `why_unavailable`."""
    if kind == "local" and (meant := meant_model(name)):
        raise UserError(f"there is no model {name}; did you mean {meant}?")
    place = name.partition(":")[2] if kind == "vllm" else name
    if kind == "local" and (absent := next((each for each in LOCAL_PACKAGES if find_spec(each) is None), None)):
        raise missing_packages(None, "a model on this machine", ModuleNotFoundError(f"No module named {absent!r}"), LOCAL_PACKAGES)
    if kind == "vllm" and find_spec("vllm") is None:
        raise missing_packages("vllm", "a model named vllm:ID", ModuleNotFoundError("No module named 'vllm'"))
    if kind in ("vllm", "local") and name not in SHIPPED and (reason := why_unavailable(place)):
        raise UserError(f"{place}: {reason}; give a checkpoint folder, a hub id, or {' or '.join(SHIPPED)}")


def meant_model(name: str) -> str | None:
    """What was meant by a misspelt name of a model that ships or prefix such as openai:, or by a stage's folder: its model. Else None."""
    if os.path.isdir(name):
        inner = os.path.join(name, "model")
        weights = any(file.endswith((".safetensors", ".bin")) for file in os.listdir(name))
        return inner if not weights and os.path.isfile(os.path.join(inner, "config.json")) else None
    prefix, colon, rest = name.partition(":")
    if os.path.exists(name) or "/" in prefix:
        return None
    (close,) = get_close_matches(prefix.casefold(), ("vllm", "openai", "recorded") if colon else tuple(SHIPPED), n=1, cutoff=0.7) or ("",)
    return f"{close}:{rest}" if colon and close else close if close != name else None


def why_unavailable(place: str) -> str | None:
    """The reason for which a checkpoint cannot be had: no such folder, or a hub that cannot be reached while it is not in the cache.

    None if it may be there. If the hub cannot be reached and the checkpoint is cached, the hub is not asked further.
    """
    if os.path.isdir(place):
        return None
    if os.path.exists(place):
        return "this is a file, not the folder of a checkpoint"
    if place.startswith(_PATHS) or place.count("/") > 1:
        return "there is no such folder"
    return _why_not_from_hub(place)


def _why_not_from_hub(identity: str) -> str | None:
    """Asks the hub once, as its client would ask six times for each file, for half a minute."""
    import httpx2

    try:
        from huggingface_hub import constants, try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None  # whoever loads it says what to install

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        cached = isinstance(try_to_load_from_cache(identity, "config.json"), str)
        httpx2.head(f"{constants.ENDPOINT}/{identity}/resolve/main/config.json", timeout=_WAIT)
    except HFValidationError:
        return "this is neither a folder nor a hub id"
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        unreached = f"{constants.ENDPOINT} cannot be reached ({error})"
        if not cached:
            return f"there is no such folder, the hub's cache does not hold it, and {unreached}"
        say(f"{unreached}; the cached copy of {identity} is used")
        constants.HF_HUB_OFFLINE = True
    return None
