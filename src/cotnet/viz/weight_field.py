"""The weight field of a CoT layer and the quantities that summarise it.

``N`` images, ``G`` heads, ``T`` taps = k * k, ``C`` channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WeightField:
    """The weights that one CoT layer made for a batch of images.

    Attributes:
        layer: The layer's name in the network.
        stage: The stage that holds the layer, counted as in the paper (``res4``), or the first part of its name.
        weight: The field, ``[N, G, T, H, W]``: the weight that head g at each position gives to each cell of its
            window, signed and not normalised; tap ``row * k + column``.
        kernel_size: Side k of the window.
        dilation: Step between the cells of a window.
        groups: Independent parts of the channels; the heads of one part come before those of the next.
        channels: Number of channels C.
        dynamic_share: ``[N, C]``, the share that the fusion gives to the dynamic context, the rest being the static
            one's; ``None`` for a layer without fusion.
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
        """Number of heads G."""
        return self.weight.shape[1]

    def channels_of(self, head: int) -> list[int]:
        """The channels that a head filters: every (G / groups)-th channel of the head's part."""
        heads_per_part, channels_per_part = self.heads // self.groups, self.channels // self.groups
        part = head // heads_per_part
        first = part * channels_per_part
        return list(range(first + head % heads_per_part, first + channels_per_part, heads_per_part))


def short_name(layer: str) -> str:
    """A layer's name as a sheet shows it: in this package's networks the name of the block is enough."""
    return layer.removesuffix(".mixer")


def window_shares(weight: Tensor) -> Tensor:
    """The share of each cell in its window: magnitudes that sum to 1 over the taps.

    Args:
        weight: Weights ``[..., T, H, W]``.

    Returns:
        Shares of the same shape; those of a window of zeros are zero.
    """
    magnitude = weight.abs()
    return magnitude / magnitude.sum(-3, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)


def entropy(weight: Tensor) -> Tensor:
    """How evenly a position spreads its weights over its window: 0 for one cell alone, 1 for all cells alike.

    This is the entropy of ``window_shares`` divided by log T, the largest that T cells allow.

    Args:
        weight: Weights ``[..., T, H, W]``.

    Returns:
        Entropies ``[..., H, W]``; 0 for a window of one cell or of zeros.
    """
    share = window_shares(weight)
    taps = torch.tensor(float(weight.shape[-3]), dtype=weight.dtype)
    if taps == 1:
        return torch.zeros_like(share.squeeze(-3))
    return torch.special.entr(share).sum(-3) / taps.log().item()


def mean_offset(weight: Tensor, *, dilation: int = 1) -> Tensor:
    """Where a position looks on average: the offset of its window's cells, averaged by ``window_shares``.

    Args:
        weight: Weights ``[..., T, H, W]``, T the square of an odd number.
        dilation: Step between the cells of the window.

    Returns:
        Offsets ``[..., 2, H, W]``: rows (down is positive) and columns (right is positive), in cells of the feature
        map.

    Raises:
        ValueError: T is not the square of an odd number.
    """
    taps = weight.shape[-3]
    side = round(taps**0.5)
    if side * side != taps or side % 2 == 0:
        raise ValueError(f"the number of taps must be an odd number squared, got {taps} in shape {tuple(weight.shape)}")
    steps = dilation * (torch.arange(side, dtype=weight.dtype, device=weight.device) - side // 2)
    offsets = torch.stack([steps.repeat_interleave(side), steps.repeat(side)])
    return torch.einsum("ot,...thw->...ohw", offsets, window_shares(weight))


def most_varied_heads(field: WeightField, count: int) -> list[int]:
    """The heads whose windows differ most from position to position in the first image.

    Args:
        field: The field of one layer.
        count: Number of heads; all of them where the layer has no more.

    Returns:
        Their numbers in ascending order.
    """
    variation = window_shares(field.weight[0]).flatten(2).var(-1, correction=0).sum(-1)
    return sorted(variation.topk(min(count, field.heads)).indices.tolist())
