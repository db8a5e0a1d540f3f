"""The chains from an RGB picture to a normalised tensor, assembled from timm's and torchvision's transforms."""

import re
from collections.abc import Callable
from typing import Any, Literal

import torch
from timm.data import create_transform
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

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
    """What `eval_transform` does before it normalises, from picture to picture."""
    whole = create_transform(
        input_size=(3, size, size), is_training=False, interpolation=interpolation, crop_pct=crop_pct, normalize=False
    )
    return v2.Compose([*whole.transforms[:-1]])


def check_policy(policy: str) -> None:
    """Raise `ValueError` where a text is no RandAugment policy; timm passes over much that it does not know."""
    if not re.fullmatch(r"rand(-(m|n|p|mstd|mmax|inc)\d[\d.]*)*", policy):
        raise ValueError(
            f"data.auto_augment must be a RandAugment policy of timm such as rand-m9-n2-mstd0.5, got {policy!r}"
        )


def train_transform(
    *,
    size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    interpolation: str,
    augment: Augment,
    auto_augment: str | None,
) -> Transform:
    """Change a picture at random, normalise.

    Args:
        size: Side of the square input in pixels.
        mean: Mean of each channel, of values in 0..1.
        std: Standard deviation of each channel.
        interpolation: Name of the resampling filter.
        augment: ``resized_crop`` takes 8 to 100 % of the area at an aspect of 3/4 to 4/3 (ImageNet practice);
            ``pad_crop`` pads by an eighth and crops (CIFAR practice); both flip left to right with probability one
            half. ``flip`` flips in both directions, for pictures without an upright; ``none`` resizes alone.
        auto_augment: A timm RandAugment policy such as ``rand-m9-mstd0.5``, or None.
    """
    if augment == "resized_crop":
        return create_transform(
            input_size=(3, size, size),
            is_training=True,
            hflip=0.5,
            color_jitter=0.0,
            auto_augment=auto_augment,
            interpolation=interpolation,
            mean=mean,
            std=std,
        )
    filter_ = InterpolationMode(interpolation)
    steps: list[Any] = [v2.Resize((size, size), interpolation=filter_)]
    if augment == "pad_crop":
        steps += [v2.RandomCrop(size, padding=max(1, size // 8)), v2.RandomHorizontalFlip()]
    if augment == "flip":
        steps += [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    if auto_augment is not None:
        grey = tuple(round(255 * channel) for channel in mean)
        steps.append(rand_augment_transform(auto_augment, {"img_mean": grey, "translate_const": size // 4}))
    steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std), v2.ToPureTensor()]
    return v2.Compose(steps)
