"""The weight field of a CoT layer and what sums it up.

`N` images, `G` weight maps (heads), `T` taps = k * k, `C` channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Field:
    """What one CoT layer made of a batch of images.

    Attributes:
        layer: the layer's name in the network.
        stage: the stage that it stands in, counted as the paper does (`res4`), or the first part of its name.
        weight: the field, [N, G, T, H, W]: the weight that head g at each position gives to each cell of its window,
            signed and not normalised; tap `row * k + column`.
        kernel_size: k.
        dilation: step between the cells of a window.
        groups: independent parts of the channels; their heads follow one another.
        channels: C.
        dynamic_share: [N, C], what the fusion gives to the dynamic context, the rest goes to the static one; `None`
            where a layer has no fusion.
    """

    layer: str
    stage: str
    weight: Tensor
    kernel_size: int
    dilation: int
    groups: int
    channels: int
    dynamic_share: Tensor | None

    @property
    def heads(self) -> int:
        """G."""
        return self.weight.shape[1]

    def channels_of(self, head: int) -> list[int]:
        """The channels that a head filters: every (G / groups)-th of its part."""
        each, size = self.heads // self.groups, self.channels // self.groups
        part = head // each
        return list(range(part * size + head % each, (part + 1) * size, each))


def looks(weight: Tensor) -> Tensor:
    """How a position spreads its look over the window: magnitudes of [..., T, H, W] that sum to 1 over the taps.

    A window of zeros alone stays one of zeros.
    """
    magnitude = weight.abs()
    return magnitude / magnitude.sum(-3, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)


def entropy(weight: Tensor) -> Tensor:
    """Whether a position looks at one cell of its window (0) or at all alike (1).

    The entropy of the weights' magnitudes, in the largest entropy that T cells allow.

    Args:
        weight: [..., T, H, W].

    Returns:
        [..., H, W]; 0 for a window of one cell or of zeros alone.
    """
    share = looks(weight)
    taps = torch.tensor(float(weight.shape[-3]), dtype=weight.dtype)
    if taps == 1:
        return torch.zeros_like(share.squeeze(-3))
    return torch.special.entr(share).sum(-3) / taps.log().item()


def direction(weight: Tensor, *, dilation: int = 1) -> Tensor:
    """Where a position looks: the mean offset of the window's cells, by the weights' magnitudes.

    Args:
        weight: [..., T, H, W], T an odd number squared.
        dilation: step between the cells of the window.

    Returns:
        [..., 2, H, W]: rows (down is positive) and columns (right is positive), in cells of the map.
    """
    taps = weight.shape[-3]
    side = round(taps**0.5)
    if side * side != taps or side % 2 == 0:
        raise ValueError(f"expected an odd number squared of taps, got {taps} in the shape {tuple(weight.shape)}")
    steps = dilation * (torch.arange(side, dtype=weight.dtype, device=weight.device) - side // 2)
    offsets = torch.stack([steps.repeat_interleave(side), steps.repeat(side)])
    return torch.einsum("ot,...thw->...ohw", offsets, looks(weight))


def telling_heads(field: Field, count: int) -> list[int]:
    """The heads whose look differs most from place to place in the first image, in the order of their numbers.

    Args:
        field: of a layer.
        count: how many, at most all.
    """
    variation = looks(field.weight[0]).flatten(2).var(-1, correction=0).sum(-1)
    return sorted(variation.topk(min(count, field.heads)).indices.tolist())
