"""Whether a model can be there, checked before anything heavy is imported and without waiting long for the network."""

from __future__ import annotations

import os
from importlib.util import find_spec

from emocaliber.errors import UserError
from emocaliber.render.terminal import say

_WAIT = 5.0  # seconds for the hub to take a connection
_PATHS = ("/", "./", "../", "~", ".\\", "..\\")  # beginnings of names that are paths, not hub ids


def check_available(name: str, kind: str) -> None:
    """Raises UserError if the model called `name` cannot be loaded: its folder is not there, vLLM is not installed, or the hub cannot be
    reached while the model is not in its cache.

    If the hub cannot be reached and the model is in its cache, the cached copy is used without asking the hub further.
    """
    place = name.partition(":")[2] if kind == "vllm" else name
    if kind == "vllm" and find_spec("vllm") is None:
        raise UserError(f"{name}: vLLM is not installed; install it with pip install 'emocaliber[vllm]', or give {place} without vllm:")
    if kind in ("vllm", "local") and name != "tiny":
        _check_checkpoint(place)


def _check_checkpoint(place: str) -> None:
    if os.path.isdir(place):
        return
    if os.path.exists(place):
        raise UserError(f"{place} is a file; a local model is the folder of its checkpoint")
    if place.startswith(_PATHS) or place.count("/") > 1:
        raise UserError(f"{place}: there is no such folder; give a checkpoint folder, a hub id, or 'tiny'")
    _check_hub(place)


def _check_hub(identity: str) -> None:
    """Asks the hub once, as its client would ask six times for each file, for half a minute."""
    import httpx2
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if constants.HF_HUB_OFFLINE:
        return
    try:
        cached = isinstance(try_to_load_from_cache(identity, "config.json"), str)
        httpx2.head(f"{constants.ENDPOINT}/{identity}/resolve/main/config.json", timeout=_WAIT)
    except HFValidationError as error:
        raise UserError(f"{identity!r} is neither a folder nor a hub id; give a checkpoint folder, a hub id, or 'tiny'") from error
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        reason = f"{constants.ENDPOINT} cannot be reached ({error})"
        if not cached:
            raise UserError(
                f"{identity}: there is no such folder, it is not in the cache of the hub, and {reason}; give a checkpoint folder or 'tiny'"
            ) from error
        say(f"{reason}; the cached copy of {identity} is used")
        constants.HF_HUB_OFFLINE = True
