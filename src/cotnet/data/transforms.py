"""From an RGB image to a normalised tensor, assembled from timm's and torchvision's transforms."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from timm.data import create_transform
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from cotnet.data.rand_augment import rand_augment

Transform = Callable[[Any], Tensor]
Augment = Literal["resized_crop", "pad_crop", "flip", "none"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


def eval_transform(
    *, size: int, mean: tuple[float, ...], std: tuple[float, ...], interpolation: str, crop_pct: float
) -> Transform:
    """Resize the shorter side to ``size / crop_pct``, crop the centre, normalise."""
    return create_transform(
        input_size=(3, size, size),
        is_training=False,
        interpolation=interpolation,
        mean=mean,
        std=std,
        crop_pct=crop_pct,
    )


def eval_crop(*, size: int, interpolation: str, crop_pct: float) -> Callable[[Any], Any]:
    """The resizing and cropping of `eval_transform`, from image to image."""
    whole = create_transform(
        input_size=(3, size, size), is_training=False, interpolation=interpolation, crop_pct=crop_pct, normalize=False
    )
    return v2.Compose([*whole.transforms[:-1]])


def train_transform(
    *,
    size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    interpolation: str,
    augment: Augment,
    auto_augment: str | None,
) -> Transform:
    """Augment an image at random, then normalise.

    Args:
        size: Side of the square input in pixels.
        mean: Mean of each channel, of values in 0..1.
        std: Standard deviation of each channel.
        interpolation: Name of the resampling filter.
        augment: ``resized_crop`` takes 8 to 100 % of the area at an aspect of 3/4 to 4/3 (ImageNet practice);
            ``pad_crop`` pads by an eighth and crops (CIFAR practice); both flip left to right with probability one
            half. ``flip`` flips in both directions, for images without an upright; ``none`` only resizes.
        auto_augment: A RandAugment policy, see `cotnet.data.rand_augment`, or None.
    """
    policy = [] if auto_augment is None else [rand_augment(auto_augment, size=size, mean=mean)]
    if augment == "resized_crop":
        options: dict[str, Any] = {"interpolation": interpolation, "mean": mean, "std": std}
        chain = create_transform((3, size, size), is_training=True, hflip=0.5, color_jitter=0.0, **options)
        crop, mirror, *to_tensor = chain.transforms
        return v2.Compose([crop, mirror, *policy, *to_tensor])
    steps: list[Any] = [v2.Resize((size, size), interpolation=InterpolationMode(interpolation))]
    if augment == "pad_crop":
        steps += [v2.RandomCrop(size, padding=max(1, size // 8)), v2.RandomHorizontalFlip()]
    if augment == "flip":
        steps += [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    steps += policy
    steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std), v2.ToPureTensor()]
    return v2.Compose(steps)
