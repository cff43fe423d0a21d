"""`emocaliber serve` on several machines, by Ray Serve: the same routes, answered by replicas that each have the model.

    pip install "ray[serve]"
    serve run deploy.ray_serve:app replicas=2

from the folder above this one; then as from any other server: curl -F images=@photo.png http://127.0.0.1:8000/v1/emotions. Ray's proxy
answers at 127.0.0.1. Where it is told to answer at another address, give that as `host=ADDRESS` here too: requests then need a key, of the
file `keys=FILE`, which lies on every machine (`emocaliber serve keys make`). `gpus=1` gives each replica a GPU. A replica whose model no
longer answers is replaced. Each replica counts its own quota and metrics.
"""

from __future__ import annotations

import sys
from pathlib import Path

from starlette.applications import Starlette

from emocaliber.errors import UserError
from emocaliber.models import DEFAULT_MODEL
from emocaliber.predict.predictor import load
from emocaliber.serving.app import create_app
from emocaliber.serving.engine import Engine
from emocaliber.serving.keys import KeyFile, KeyRing, default_file
from emocaliber.serving.operations import Canary
from emocaliber.serving.settings import Settings

try:
    from ray import serve
except ImportError:
    sys.exit("this deployment needs Ray Serve: pip install 'ray[serve]'")

MOST = 256  # requests that a replica has at a time; more wait at the proxy, which the engine's own 503 does not see


def app(given: dict[str, str]) -> serve.Application:
    """The application for `serve run`. `given` may have `model`, `replicas`, `gpus`, `host` and `keys`, all as text."""
    if unknown := set(given) - {"model", "replicas", "gpus", "host", "keys"}:
        raise UserError(f"there is no setting {min(unknown)!r}; the settings are model, replicas, gpus, host and keys")
    model, settings = given.get("model", DEFAULT_MODEL), Settings(host=given.get("host", "127.0.0.1"))
    keys = Path(given["keys"]) if "keys" in given else default_file()
    if not settings.is_local and not KeyRing(KeyFile(keys), needed=True).count:
        raise UserError(f"{settings.host} can be reached from other machines, so a key is needed: emocaliber serve keys make NAME")
    engines: list[Engine] = []

    def built() -> Starlette:
        """The routes of a replica, made where it runs."""
        engines.append(Engine(load(model)))
        return create_app(engines[0], settings, KeyRing(KeyFile(keys), needed=not settings.is_local))

    @serve.deployment(
        name="emocaliber",
        num_replicas=int(given.get("replicas", "1")),
        max_ongoing_requests=MOST,
        ray_actor_options={"num_gpus": float(given.get("gpus", "0"))},
        health_check_timeout_s=60,
    )
    @serve.ingress(built)
    class Replica:
        async def check_health(self) -> None:
            if engines and (wrong := await self._canary().problem()):
                raise RuntimeError(wrong)

        def _canary(self) -> Canary:
            if not hasattr(self, "_made"):
                self._made = Canary(engines[0])
            return self._made

    return Replica.bind()
