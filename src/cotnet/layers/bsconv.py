"""Blueprint separable convolution (BSConv-U) of *Rethinking Depthwise Separable Convolutions*, arXiv 2003.13549."""

import torch
from torch import Tensor, nn

from cotnet.layers._common import Device, check_layer


class BSConv(nn.Module):
    """A 1x1 convolution, then a depthwise k x k one: [N, C, H, W] to [N, C, H', W'].

    All k x k kernels of an output channel are one blueprint, scaled per input channel. The value and the aggregation
    of CoT are its input-dependent counterpart.

    Parameters: ``C * C + k * k * C``; the number of multiply-accumulates per position is the same.

    Args:
        dim: Channels C.
        kernel_size: Odd window size k.
        stride: Distance between neighbouring output positions; H' = ceil(H / stride).
        dilation: Distance between neighbouring cells of the window.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ValueError: An even window, or a number out of range.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        check_layer("BSConv", dim, kernel_size, dilation, divisor=1)
        padding = dilation * (kernel_size // 2)
        self.pointwise = nn.Conv2d(dim, dim, 1, bias=False, device=device, dtype=dtype)
        self.blueprint = nn.Conv2d(
            dim, dim, kernel_size, stride, padding, dilation, groups=dim, bias=False, device=device, dtype=dtype
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H', W']."""
        return self.blueprint(self.pointwise(x))
