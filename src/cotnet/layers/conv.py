"""Convolutions with BatchNorm: the part that every layer is made of, and the ordinary mixers of a residual block."""

from typing import Any

import torch
from torch import Tensor, nn

from cotnet.layers._common import Device
from cotnet.layers.norm import Act, norm_act
from cotnet.ops.batch_norm_act import finish


class ConvNorm(nn.Module):
    """Convolution and BatchNorm, [N, C_in, H, W] to [N, C_out, H', W'], zero padding of half the dilated window.

    Args:
        in_dim: Input channels.
        out_dim: Output channels.
        kernel_size: Odd window size.
        stride: Distance between neighbouring output positions.
        dilation: Distance between neighbouring cells of the window.
        groups: Number of independent groups of channels.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
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
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        padding = dilation * (kernel_size // 2)
        options: dict[str, Any] = {"bias": False, "device": device, "dtype": dtype}
        self.conv = nn.Conv2d(in_dim, out_dim, kernel_size, stride, padding, dilation, groups, **options)
        self.norm = nn.BatchNorm2d(out_dim, device=device, dtype=dtype)

    def forward(self, x: Tensor, act: Act | None = None) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, H', W'], with an activation at the end if asked for."""
        return norm_act(self.norm, self.conv(x), act)


def conv_act(conv: nn.Module, x: Tensor, act: Act) -> Tensor:
    """``act(conv(x))``: in one call where ``conv`` is a ``ConvNorm``, else the module in its place and then ``act``."""
    if type(conv) is ConvNorm and "forward" not in vars(conv):
        return conv(x, act)
    return finish(conv(x), None, act, inplace=False)


class Conv(nn.Module):
    """The ordinary mixer of a residual block: k x k convolution, BatchNorm, ReLU, [N, C, H, W] to [N, C, H', W'].

    Args:
        dim: Channels C.
        kernel_size: Odd window size.
        stride: Distance between neighbouring output positions; H' = ceil(H / stride).
        dilation: Distance between neighbouring cells of the window.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
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
        self.local = ConvNorm(dim, dim, kernel_size, stride=stride, dilation=dilation, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H', W']."""
        return conv_act(self.local, x, "relu")


def linear_conv(
    dim: int,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> nn.Conv2d:
    """The convolution of ``Conv`` alone, without norm and activation: [N, C, H, W] to [N, C, H', W'].

    Args:
        dim: Channels C.
        kernel_size: Odd window size.
        stride: Distance between neighbouring output positions; H' = ceil(H / stride).
        dilation: Distance between neighbouring cells of the window.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
    """
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(dim, dim, kernel_size, stride, padding, dilation, bias=False, device=device, dtype=dtype)
