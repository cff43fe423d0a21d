"""`lite`: Qwen2.5-VL with other eyes. Its image tokens are the cells of EfficientNet-Lite's last feature map.

Importing this package makes transformers' Auto classes know it, without remote code.
"""

from emocaliber.models.lite.configuration import LITE, LiteConfig, LiteVisionConfig
from emocaliber.models.lite.image_processor import LiteImageProcessor
from emocaliber.models.lite.modeling import LiteForConditionalGeneration

__all__ = ["LITE", "LiteConfig", "LiteForConditionalGeneration", "LiteImageProcessor", "LiteVisionConfig"]
