"""From a card's preprocessing to how images are decoded and become a network's input."""

from collections.abc import Callable
from typing import Any

from PIL import Image
from timm.data import create_transform
from torch import Tensor

from cotnet.files.weights import WeightsCard


def input_transform(card: WeightsCard) -> Callable[[Image.Image], Tensor]:
    """From an RGB image to a classifier's input [3, H, W]: resized, cropped, normalised."""
    p = card.preprocessing
    return create_transform(
        input_size=tuple(p["input_size"]),
        is_training=False,
        interpolation=p["interpolation"],
        mean=tuple(p["mean"]),
        std=tuple(p["std"]),
        crop_pct=p["crop_pct"],
    )


def decoding_options(card: WeightsCard) -> dict[str, Any]:
    """How images are decoded for a network: arguments of `cotnet.files.image.open_image`."""
    value_range = card.preprocessing.get("value_range")
    return {} if value_range is None else {"value_range": tuple(value_range)}
