"""The configuration of a lite model: Qwen2.5-VL's with another vision encoder."""

from typing import Any, ClassVar

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLTextConfig
from transformers.configuration_utils import PreTrainedConfig

from emocaliber.models.lite.efficientnet import STRIDE

LITE = "emocaliber_lite"  # the model type in config.json


class LiteVisionConfig(PreTrainedConfig):  # type: ignore[misc]
    """EfficientNet-Lite and the projector behind it.

    `eyes_width` and `eyes_depth` scale the network (1.1 and 1.2: Lite2) and `eyes_channels` are those of its last feature map. Images are
    `image_side` pixels wide and high, a multiple of 32. `out_hidden_size` is the width of the language model, `token_scale` the root mean
    square of an untrained projector's tokens. `readout_row` appends one row of tokens that say how the whole
    image feels (see `ReadoutHead`).
    """

    model_type = "emocaliber_lite_vision"
    base_config_key = "vision_config"

    eyes_width: float = 1.1
    eyes_depth: float = 1.2
    eyes_channels: int = 1280
    image_side: int = 256
    out_hidden_size: int = 192
    token_scale: float = 0.6
    readout_row: bool = False
    initializer_range: float = 0.02
    # What Qwen2.5-VL's code reads to count image tokens and to give them positions: one token for each cell.
    patch_size: int = STRIDE
    spatial_merge_size: int = 1
    temporal_patch_size: int = 1
    tokens_per_second: int = 4
    in_channels: int = 3

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.image_side < STRIDE or self.image_side % STRIDE:
            raise ValueError(f"image_side must be a multiple of {STRIDE}, not {self.image_side}")
        if self.eyes_channels == self.in_channels * STRIDE**2:
            raise ValueError(f"eyes_channels must not be {self.eyes_channels}, by which pixels are told from features")

    @property
    def row(self) -> int:
        """Cells in a row of the feature map."""
        return self.image_side // STRIDE

    @property
    def grid(self) -> tuple[int, int, int]:
        """The grid of image tokens, as `image_grid_thw` gives it: one frame, its rows (the readout row included) and columns."""
        return 1, self.row + self.readout_row, self.row


class LiteConfig(Qwen2_5_VLConfig):  # type: ignore[misc]
    """`Qwen2_5_VLConfig` with a `LiteVisionConfig`."""

    model_type = LITE
    # TRL takes the Auto class of a reference model from here where transformers itself has no class of the model's name. As it is no field,
    # it is not saved: a checkpoint names no code, and what the Auto class makes is the class registered for this configuration.
    auto_map: ClassVar[dict[str, str]] = {"AutoModelForImageTextToText": "modeling.LiteForConditionalGeneration"}
    sub_configs_defaults = {"vision_config": LiteVisionConfig, "text_config": Qwen2_5_VLTextConfig}  # noqa: RUF012
    sub_configs = {"vision_config": LiteVisionConfig, "text_config": Qwen2_5_VLTextConfig}  # noqa: RUF012  # its name in earlier transformers
