"""From a card's preprocessing to a transform of images."""

from collections.abc import Callable

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
