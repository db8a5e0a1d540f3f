"""Plain convolutions with BatchNorm: the part that every layer is made of, and the ordinary 3x3 mixer."""

from typing import Literal

from torch import Tensor, nn

from cotnet.layers.norm import norm_act


class ConvNorm(nn.Module):
    """Convolution and BatchNorm, [N, C_in, H, W] to [N, C_out, H', W'], zero padding of half the dilated window.

    Args:
        in_dim: input channels.
        out_dim: output channels.
        kernel_size: odd window size.
        stride: step between output positions.
        dilation: step between the cells of a window.
        groups: independent groups of channels.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ):
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(in_dim, out_dim, kernel_size, stride, padding, dilation, groups, bias=False)
        self.norm = nn.BatchNorm2d(out_dim)

    def forward(self, x: Tensor, act: Literal["relu", "silu"] | None = None) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, H', W'], with an activation at the end if asked for."""
        return norm_act(self.norm, self.conv(x), act)


class Conv(nn.Module):
    """The ordinary mixer of a residual block: kxk convolution, BatchNorm, ReLU, [N, C, H, W] to [N, C, H', W'].

    Args:
        dim: channels C.
        kernel_size: odd window size.
        stride: step between output positions; H' = ceil(H / stride).
        dilation: step between the cells of a window.
    """

    def __init__(self, dim: int, kernel_size: int = 3, *, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.local = ConvNorm(dim, dim, kernel_size, stride=stride, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H', W']."""
        return self.local(x, "relu")
