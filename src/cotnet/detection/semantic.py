"""Semantic segmentation: every pixel's class from a feature pyramid (Kirillov et al., arXiv 1901.02446, 3.1)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotnet.detection.backbone import Norm, PyramidBackbone, create_body, norm_layer

IGNORED = 255


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
        # A map of stride 4 * 2**level is doubled `level` times, each time after a convolution.
        self.branches = nn.ModuleList(
            nn.ModuleList(
                _convolution(backbone.out_channels if i == 0 else width, width, norm) for i in range(max(level, 1))
            )
            for level in range(4)
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits at the size of the pictures, whatever it is."""
        maps = self.backbone(pictures)
        size, total = maps["0"].shape[-2:], torch.zeros((), device=pictures.device)
        for level, branch in enumerate(self.branches):
            x = maps[str(level)]
            assert isinstance(branch, nn.ModuleList)
            for convolution in branch:
                x = convolution(x)
                if level > 0:
                    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            if x.shape[-2:] != size:  # an odd map was halved upwards
                x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            total = total + x
        return F.interpolate(self.classifier(total), size=pictures.shape[-2:], mode="bilinear", align_corners=False)


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
    body = create_body(name, **(backbone_options or {}))
    backbone = PyramidBackbone(body, channels, norm=norm, frozen=frozen)
    return SemanticPyramid(backbone, num_classes=num_classes + 1, width=channels, norm=norm)


def label_map(target: dict[str, Tensor], size: tuple[int, int]) -> Tensor:
    """Each pixel's class, uint8 [H, W]: 0 where no object is; of objects over one another the smaller one's.

    Args:
        target: `labels` [M] from 1 and `masks` [M, H, W].
        size: H and W.
    """
    labels = torch.zeros(size, dtype=torch.uint8)
    masks = target["masks"].bool()
    for index in masks.flatten(1).sum(1).argsort(descending=True).tolist():
        labels[masks[index]] = int(target["labels"][index])
    return labels


def mean_iou(counts: Tensor) -> tuple[float, list[float]]:
    """Intersection over union from pixels by true class and answer, [classes, classes].

    Returns:
        The mean over the classes that occur, and each class's; NaN where one occurs neither in truth nor answer.
    """
    counts = counts.double()
    right = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - right
    each = torch.where(union > 0, right / union, torch.nan)
    return float(each.nanmean()), each.tolist()


def _convolution(inner: int, outer: int, norm: Norm) -> nn.Sequential:
    layer = norm_layer(norm)
    convolution = nn.Conv2d(inner, outer, 3, padding=1, bias=layer is None)
    return nn.Sequential(convolution, layer(outer) if layer else nn.Identity(), nn.ReLU(inplace=True))
