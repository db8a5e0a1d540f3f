"""Involution of *Involution: Inverting the Inherence of Convolution for Visual Recognition*, arXiv 2103.06255."""

import torch.nn.functional as F
from torch import Tensor, nn

from cotnet.layers.checks import check_layer
from cotnet.layers.conv import ConvNorm
from cotnet.ops.local_aggregation import local_aggregation

CHANNELS_PER_KERNEL = 16
REDUCTION = 4


class Involution(nn.Module):
    """Each position filters its window by a kernel made from that position alone: [N, C, H, W] to [N, C, H, W].

    16 contiguous channels share a kernel. CoT differs in that the neighbours, too, have a say in the kernel.

    Parameters: `C * C / 4 + C / 2 + (C / 4 + 1) * k * k * C / 16`. Multiply-accumulates a position:
    `C * C / 4 + k * k * C * C / 64 + k * k * C`.

    Args:
        dim: channels C, divisible by 16.
        kernel_size: odd window size k; the paper takes 7.
        dilation: step between the cells of the window.

    Raises:
        ValueError: a width that does not divide, an even window, or a number out of range.
    """

    def __init__(self, dim: int, kernel_size: int = 3, *, dilation: int = 1):
        super().__init__()
        check_layer("Involution", dim, kernel_size, dilation, divisor=CHANNELS_PER_KERNEL)
        self.kernel_size, self.dilation, self.kernels = kernel_size, dilation, dim // CHANNELS_PER_KERNEL
        self.reduce = ConvNorm(dim, dim // REDUCTION)
        self.span = nn.Conv2d(dim // REDUCTION, self.kernels * kernel_size * kernel_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        return local_aggregation(x, self.kernel(x), self.kernel_size, dilation=self.dilation, grouping="contiguous")

    def kernel(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the kernels [N, C / 16, k * k, H, W]."""
        return self.span(F.relu(self.reduce(x), inplace=True)).unflatten(1, (self.kernels, -1))

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}"
