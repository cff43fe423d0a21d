"""The same model behind LitServe, as its documentation has it: the peer of `benchmarks/serve_beside_litserve.py`, which starts it.

python benchmarks/litserve_server.py --model tiny --port 8001
"""

from __future__ import annotations

import argparse
import base64
import io
from collections.abc import Sequence
from typing import Any

import litserve as ls
from PIL import Image

import emocaliber as ec

WAIT = 0.05  # seconds that a batch waits for more


class Emotions(ls.LitAPI):
    """Answers `{"image": BASE64}` with the row of `predict`."""

    def __init__(self, model: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.name = model

    def setup(self, device: str) -> None:
        self.predictor = ec.load(self.name)

    def decode_request(self, request: dict[str, str], **_: Any) -> Image.Image:
        return Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("RGB")

    def predict(self, images: Sequence[Image.Image], **_: Any) -> list[dict[str, Any]]:
        return [each.to_row() for each in self.predictor.predict_many(images)]

    def encode_response(self, row: dict[str, Any], **_: Any) -> dict[str, Any]:
        return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    api = Emotions(args.model, max_batch_size=args.batch, batch_timeout=WAIT)
    ls.LitServer(api, accelerator="cpu", timeout=120).run(host="127.0.0.1", port=args.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
