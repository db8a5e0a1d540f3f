"""The Contextual Transformer layers of *Contextual Transformer Networks for Visual Recognition*, arXiv 2107.12292."""

import torch
from torch import Tensor, nn

from cotnet.layers._common import Device, check_layer
from cotnet.layers.attention import CHANNELS_PER_HEAD, ContextAttention
from cotnet.layers.conv import ConvNorm, conv_act
from cotnet.layers.fusion import ContextFusion
from cotnet.layers.norm import norm_act
from cotnet.ops.local_aggregation import local_aggregation


class CoTLayer(nn.Module):
    """Contextual Transformer layer, in the place of a k x k convolution: [N, C, H, W] to [N, C, H, W].

    A grouped convolution gathers the static context of the neighbours. Together with the input it yields one filter per
    position and 8 channels, which aggregates the dynamic context. An attention over channels fuses the two.

    Args:
        dim: Channels C, divisible by 8.
        kernel_size: Odd window size k of both contexts.
        dilation: Distance between neighbouring cells of both windows.
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
        check_layer("CoTLayer", dim, kernel_size, dilation, divisor=CHANNELS_PER_HEAD)
        self.dim, self.kernel_size, self.dilation = dim, kernel_size, dilation
        self.static_context = ConvNorm(dim, dim, kernel_size, dilation=dilation, groups=4, device=device, dtype=dtype)
        self.attention = ContextAttention(dim, kernel_size, device=device, dtype=dtype)
        self.value = ConvNorm(dim, dim, device=device, dtype=dtype)
        self.dynamic_norm = nn.BatchNorm2d(dim, device=device, dtype=dtype)
        self.fusion = ContextFusion(dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        static = conv_act(self.static_context, x, "relu")
        weight = self.attention(x, static)
        dynamic = local_aggregation(self.value(x), weight, self.kernel_size, dilation=self.dilation)
        return self.fusion(norm_act(self.dynamic_norm, dynamic, "silu"), static)

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}"


class CoXtLayer(nn.Module):
    """The layer of CoTNeXt: a ``CoTLayer`` with wider cardinality, [N, C, H, W] to [N, C, H, W].

    The static context has 8 groups; attention, value and aggregation run on two independent halves of the channels.

    Args:
        dim: Channels C, divisible by 16.
        kernel_size: Odd window size k of both contexts.
        dilation: Distance between neighbouring cells of both windows.
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
        check_layer("CoXtLayer", dim, kernel_size, dilation, divisor=2 * CHANNELS_PER_HEAD)
        self.dim, self.kernel_size, self.dilation = dim, kernel_size, dilation
        self.static_context = ConvNorm(dim, dim, kernel_size, dilation=dilation, groups=8, device=device, dtype=dtype)
        self.attention = ContextAttention(dim, kernel_size, groups=2, device=device, dtype=dtype)
        self.value = ConvNorm(dim, dim, groups=2, device=device, dtype=dtype)
        self.dynamic_norm = nn.BatchNorm2d(dim, device=device, dtype=dtype)
        self.fusion = ContextFusion(dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        static = conv_act(self.static_context, x, "relu")
        weight = self.attention(x, static)
        dynamic = local_aggregation(self.value(x), weight, self.kernel_size, dilation=self.dilation, groups=2)
        return self.fusion(norm_act(self.dynamic_norm, dynamic, "silu"), static)

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}"
