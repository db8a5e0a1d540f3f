"""Involution of *Involution: Inverting the Inherence of Convolution for Visual Recognition*, arXiv 2103.06255."""

import torch
from torch import Tensor, nn

from cotnet.layers._common import Device, check_layer
from cotnet.layers.conv import ConvNorm, conv_act
from cotnet.ops.local_aggregation import local_aggregation

CHANNELS_PER_HEAD = 16
REDUCTION = 4


class Involution(nn.Module):
    """Each position filters its window by a kernel computed from that position alone: [N, C, H, W] to [N, C, H, W].

    16 contiguous channels share a kernel. In CoT the kernel depends on the neighbours as well.

    Parameters: ``C * C / 4 + C / 2 + (C / 4 + 1) * k * k * C / 16``. Multiply-accumulates a position:
    ``C * C / 4 + k * k * C * C / 64 + k * k * C``.

    Args:
        dim: Channels C, divisible by 16.
        kernel_size: Odd window size k; the paper uses 7.
        dilation: Distance between neighbouring cells of the window.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ValueError: A width that is not divisible as required, an even window, or a number out of range.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        check_layer("Involution", dim, kernel_size, dilation, divisor=CHANNELS_PER_HEAD)
        self.kernel_size, self.dilation, self.heads = kernel_size, dilation, dim // CHANNELS_PER_HEAD
        self.reduce = ConvNorm(dim, dim // REDUCTION, device=device, dtype=dtype)
        weights = self.heads * kernel_size * kernel_size
        self.span = nn.Conv2d(dim // REDUCTION, weights, 1, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        return local_aggregation(x, self.weight(x), self.kernel_size, dilation=self.dilation, grouping="contiguous")

    def weight(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the kernels [N, C / 16, k * k, H, W]."""
        return self.span(conv_act(self.reduce, x, "relu")).unflatten(1, (self.heads, -1))

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}"
