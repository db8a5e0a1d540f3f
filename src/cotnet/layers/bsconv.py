"""Blueprint separable convolution (BSConv-U) of *Rethinking Depthwise Separable Convolutions*, arXiv 2003.13549."""

from torch import Tensor, nn

from cotnet.layers.checks import check_layer


class BSConv(nn.Module):
    """A 1x1 convolution, then a depthwise k x k one: [N, C, H, W] to [N, C, H', W'].

    Every channel's k x k kernels are one blueprint, scaled per input channel. The value and the aggregation of CoT are
    its input-dependent sibling.

    Parameters: `C * C + k * k * C`; as many multiply-accumulates a position.

    Args:
        dim: channels C.
        kernel_size: odd window size k.
        stride: step between output positions; H' = ceil(H / stride).
        dilation: step between the cells of the window.

    Raises:
        ValueError: an even window, or a number out of range.
    """

    def __init__(self, dim: int, kernel_size: int = 3, *, stride: int = 1, dilation: int = 1):
        super().__init__()
        check_layer("BSConv", dim, kernel_size, dilation, divisor=1)
        padding = dilation * (kernel_size // 2)
        self.pointwise = nn.Conv2d(dim, dim, 1, bias=False)
        self.blueprint = nn.Conv2d(dim, dim, kernel_size, stride, padding, dilation, groups=dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H', W']."""
        return self.blueprint(self.pointwise(x))
