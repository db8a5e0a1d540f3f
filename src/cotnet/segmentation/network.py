"""Semantic segmentation: every pixel's class from a feature pyramid (Kirillov et al., arXiv 1901.02446, 3.1)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from cotnet.detection.pyramid import Norm, PyramidBackbone, create_body, norm_layer
from cotnet.segmentation.labels import MOST_CLASSES

MOST = 1333  # pixels of a longer side


class SemanticPyramid(nn.Module):
    """A pyramid whose maps are brought to one size, added up, and classified: [N, 3, H, W] to [N, classes, H, W].

    Args:
        backbone: gives the maps `"0"` to `"3"` of strides 4 to 32, all of width `out_channels`.
        num_classes: with the background, which is class 0.
        width: of the head.
        norm: normalisation in the head.
    """

    def __init__(self, backbone: PyramidBackbone, *, num_classes: int, width: int = 128, norm: Norm = "group") -> None:
        super().__init__()
        self.backbone = backbone
        # A map of stride 4 * 2**level goes to the size of the next finer one `level` times, each after a convolution.
        self.branches = nn.ModuleList(
            nn.ModuleList(
                _convolution(backbone.out_channels if i == 0 else width, width, norm) for i in range(max(level, 1))
            )
            for level in range(4)
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits at the size of the images, whatever it is."""
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
        name: of the network in timm's registry.
        num_classes: of objects; the background is added to them as class 0.
        channels: width of the pyramid and of the head.
        norm: `"batch"`, `"group"` or `"none"`, in pyramid and head.
        frozen: first parts of the body that do not train.
        backbone_options: further arguments of the network.

    Raises:
        ValueError: an unknown name, or an option out of its range.
    """
    if not 1 <= num_classes <= MOST_CLASSES:
        raise ValueError(f"a segmenter takes from 1 to {MOST_CLASSES} classes, got {num_classes=}")
    body = create_body(name, **(backbone_options or {}))
    backbone = PyramidBackbone(body, channels, norm=norm, frozen=frozen)
    return SemanticPyramid(backbone, num_classes=num_classes + 1, width=channels, norm=norm)


def to_batch(images: Sequence[Tensor], size: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Images [3, H, W] in 0 to 1, resized and normalised, in one batch whose sides are multiples of 32.

    Args:
        images: of any sizes.
        size: shorter side of each in the batch, in pixels, unless the longer one would then go beyond `MOST`.

    Returns:
        The batch, and height and width of each image in it, from its upper left corner on.
    """
    resized = []
    for image in images:
        short, long = sorted(image.shape[-2:])
        scale = min(size / short, MOST / long)
        height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
        small = F.interpolate(image[None], size=(height, width), mode="bilinear", align_corners=False, antialias=True)[
            0
        ]
        resized.append(normalize(small, list(IMAGENET_DEFAULT_MEAN), list(IMAGENET_DEFAULT_STD)))
    inner = [(x.shape[-2], x.shape[-1]) for x in resized]
    tall, wide = (-(-max(side) // 32) * 32 for side in zip(*inner, strict=True))
    batch = resized[0].new_zeros(len(resized), 3, tall, wide)
    for row, x in zip(batch, resized, strict=True):
        row[:, : x.shape[-2], : x.shape[-1]] = x
    return batch, inner


def segment(network: nn.Module, images: Sequence[Tensor], size: int) -> list[Tensor]:
    """The likeliest class of each pixel, uint8 [H, W], of images [3, H, W] in 0 to 1.

    Args:
        network: [N, 3, H, W] to logits [N, classes, H, W].
        images: of any sizes.
        size: as of `to_batch`.
    """
    batch, inner = to_batch(images, size)
    answers = []
    for logits, (height, width), image in zip(network(batch), inner, images, strict=True):
        # Class by class: all logits of a photograph at once are gigabytes.
        best = labels = None
        for label, plane in enumerate(logits[:, :height, :width]):
            x = F.interpolate(plane[None, None], size=image.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
            if best is None or labels is None:
                best, labels = x, torch.zeros_like(x, dtype=torch.uint8)
            else:
                labels[x > best] = label
                best = torch.maximum(best, x)
        assert labels is not None
        answers.append(labels)
    return answers


def _convolution(inner: int, outer: int, norm: Norm) -> nn.Sequential:
    layer = norm_layer(norm)
    convolution = nn.Conv2d(inner, outer, 3, padding=1, bias=layer is None)
    return nn.Sequential(convolution, layer(outer) if layer else nn.Identity(), nn.ReLU(inplace=True))
