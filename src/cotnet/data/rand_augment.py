"""RandAugment (Cubuk et al. 2019) of timm, with Cutout as one more operation where a policy asks for it."""

import random
import re
from collections.abc import Sequence
from typing import Any

from PIL import Image
from timm.data.auto_augment import RandAugment, rand_augment_transform

# Half the side of Cutout's square at magnitude 10, as a share of the image: 40 of 224 pixels (DeVries and Taylor 2017
# for the operation, the TensorFlow TPU models for the size).
_CUTOUT = 40 / 224
_MAGNITUDE = 10.0


def check_policy(policy: str) -> None:
    """Raise `ValueError` where a text is not a RandAugment policy; timm ignores much that it does not know."""
    if not re.fullmatch(r"rand(-(m|n|p|mstd|mmax|inc)\d[\d.]*)*(-cutout)?", policy):
        raise ValueError(
            f"data.auto_augment must be a RandAugment policy of timm such as rand-m9-n2-mstd0.5, got {policy!r}"
        )


def rand_augment(policy: str, *, size: int, mean: Sequence[float]) -> RandAugment:
    """The transform of a policy, from an RGB image to an RGB image.

    Args:
        policy: In timm's terms, such as ``rand-m9-n2-mstd0.5``: magnitude 9 of a usual 10, two operations an image. A
            magnitude above 10 needs ``mmax`` to have its effect, as in ``rand-m15-mmax30``. ``-cutout`` at the end adds
            Cutout to the operations.
        size: Side of the images in pixels.
        mean: Mean of each channel, of values in 0..1; what an operation uncovers gets this colour.
    """
    check_policy(policy)
    fill = tuple(min(255, round(255 * channel)) for channel in mean)
    options: dict[str, Any] = {"translate_const": round(0.45 * size), "img_mean": fill}
    transform = rand_augment_transform(policy.removesuffix("-cutout"), options)
    if policy.endswith("-cutout"):
        like = transform.ops[0]
        transform.ops.append(
            Cutout(like.prob, like.magnitude, std=like.magnitude_std, limit=like.magnitude_max or _MAGNITUDE, fill=fill)
        )
    return transform


class Cutout:
    """Covers a square of an image with one colour; its centre is anywhere in the image.

    Args:
        prob: Probability of covering one.
        magnitude: Size of the square; 10 stands for 80 of 224 pixels.
        std: Standard deviation of the magnitude.
        limit: Upper bound of the magnitude.
        fill: The colour, in 0..255.
    """

    def __init__(
        self, prob: float, magnitude: float, *, std: float = 0.0, limit: float = _MAGNITUDE, fill: tuple[int, ...]
    ) -> None:
        self.prob, self.magnitude, self.std, self.limit, self.fill = prob, magnitude, std, limit, fill

    def __call__(self, image: Image.Image) -> Image.Image:
        if random.random() > self.prob:
            return image
        width, height = image.size
        level = max(0.0, min(random.gauss(self.magnitude, self.std), self.limit))
        half = round(level / _MAGNITUDE * _CUTOUT * min(width, height))
        x, y = random.randrange(width), random.randrange(height)
        covered = image.copy()
        covered.paste(self.fill, (max(0, x - half), max(0, y - half), min(width, x + half), min(height, y + half)))
        return covered
