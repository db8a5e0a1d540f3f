"""Semantic segmentation: the class of every pixel from a feature pyramid (Kirillov et al., arXiv 1901.02446, 3.1)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from cotnet.detection.pyramid import Norm, PyramidBackbone, create_body, norm_layer
from cotnet.segmentation.labels import MAX_CLASSES

MAX_SIZE = 1333  # pixels of the longer side


class SemanticPyramid(nn.Module):
    """A pyramid whose maps are resized to one size, added and classified: [N, 3, H, W] to [N, classes, H, W].

    Args:
        backbone: Returns the maps ``"0"`` to ``"3"`` of strides 4 to 32, all of width ``out_channels``.
        num_classes: Number of classes with the background, which is class 0.
        width: Width of the head.
        norm: Normalisation in the head: ``"batch"``, ``"group"`` or ``"none"``.
    """

    def __init__(self, backbone: PyramidBackbone, *, num_classes: int, width: int = 128, norm: Norm = "group") -> None:
        super().__init__()
        self.backbone = backbone
        # A map of stride 4 * 2**level is resized to the next finer map ``level`` times, each time after a convolution.
        self.branches = nn.ModuleList(
            nn.ModuleList(
                _convolution(backbone.out_channels if i == 0 else width, width, norm) for i in range(max(level, 1))
            )
            for level in range(4)
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes, H, W] of normalised images [N, 3, H, W] of any size."""
        maps = self.backbone(images)
        total = torch.zeros((), device=images.device)
        for level, branch in enumerate(self.branches):
            x = maps[str(level)]
            assert isinstance(branch, nn.ModuleList)
            for finer, convolution in zip(range(level - 1, -2, -1), branch, strict=False):
                x = convolution(x)
                if level > 0:
                    x = F.interpolate(x, size=maps[str(finer)].shape[-2:], mode="bilinear", align_corners=False)
            total = total + x
        return F.interpolate(self.classifier(total), size=images.shape[-2:], mode="bilinear", align_corners=False)


def create_segmenter(
    name: str,
    *,
    num_classes: int,
    channels: int = 128,
    norm: Norm = "group",
    frozen: int = 0,
    backbone_options: dict[str, Any] | None = None,
) -> SemanticPyramid:
    """A segmenter on a network of timm.

    Args:
        name: Name of the network in timm's registry.
        num_classes: Number of classes, without the background, which is class 0.
        channels: Width of the pyramid and of the head.
        norm: Normalisation in pyramid and head: ``"batch"``, ``"group"`` or ``"none"``.
        frozen: The number of first parts of the body that do not train: 0 none, 1 the stem, 2 the stem and res2.
        backbone_options: Further arguments of the network.

    Raises:
        ValueError: The name is unknown, or an option is outside its range.
    """
    if not 1 <= num_classes <= MAX_CLASSES:
        raise ValueError(f"a segmenter takes from 1 to {MAX_CLASSES} classes, got {num_classes=}")
    body = create_body(name, **(backbone_options or {}))
    backbone = PyramidBackbone(body, channels, norm=norm, frozen=frozen)
    return SemanticPyramid(backbone, num_classes=num_classes + 1, width=channels, norm=norm)


def to_batch(images: Sequence[Tensor], size: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Resize and normalise images, in one batch whose sides are multiples of 32.

    Args:
        images: Images [3, H, W] of values in 0 to 1, of any sizes.
        size: Shorter side of each image in the batch, in pixels, unless its longer side would exceed ``MAX_SIZE``.

    Returns:
        The batch, and height and width of each image in it, from its upper left corner on.
    """
    resized = []
    for image in images:
        short, long = sorted(image.shape[-2:])
        scale = min(size / short, MAX_SIZE / long)
        height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
        x = F.interpolate(image[None], size=(height, width), mode="bilinear", align_corners=False, antialias=True)[0]
        resized.append(normalize(x, list(IMAGENET_DEFAULT_MEAN), list(IMAGENET_DEFAULT_STD)))
    sizes = [(x.shape[-2], x.shape[-1]) for x in resized]
    height, width = (-(-max(sides) // 32) * 32 for sides in zip(*sizes, strict=True))
    batch = resized[0].new_zeros(len(resized), 3, height, width)
    for row, x in zip(batch, resized, strict=True):
        row[:, : x.shape[-2], : x.shape[-1]] = x
    return batch, sizes


def segment(network: nn.Module, images: Sequence[Tensor], size: int) -> list[Tensor]:
    """The most probable class of each pixel, uint8 [H, W] for each image.

    Images of different sizes go through the network one size at a time, since norms over a map would see the padding
    that another image brings: an answer does not depend on the other images.

    Args:
        network: Maps [N, 3, H, W] to logits [N, classes, H, W].
        images: Images [3, H, W] of values in 0 to 1, of any sizes.
        size: As for `to_batch`.
    """
    by_size: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        by_size[image.shape[-2], image.shape[-1]].append(index)
    answers: dict[int, Tensor] = {}
    for shape, indices in by_size.items():
        batch, sizes = to_batch([images[index] for index in indices], size)
        for index, logits, (height, width) in zip(indices, network(batch), sizes, strict=True):
            answers[index] = _labels(logits[:, :height, :width], shape)
    return [answers[index] for index in range(len(images))]


def _labels(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The most probable class of each pixel, uint8 [H, W], from logits [classes, h, w] that are resized to H and W."""
    # Class by class, since all logits at the size of a photograph take gigabytes.
    best = labels = None
    for label, plane in enumerate(logits):
        x = F.interpolate(plane[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        if best is None or labels is None:
            best, labels = x, torch.zeros_like(x, dtype=torch.uint8)
        else:
            labels[x > best] = label
            best = torch.maximum(best, x)
    assert labels is not None
    return labels


def _convolution(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    layer = norm_layer(norm)
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=layer is None)
    return nn.Sequential(convolution, layer(out_channels) if layer else nn.Identity(), nn.ReLU(inplace=True))
