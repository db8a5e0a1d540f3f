"""CoT with parts removed: the context ablation of *Contextual Transformer Networks*, arXiv 2107.12292, table 4.

The remaining parts have the names that they have in ``CoTLayer``, so weights can be copied entry by entry.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from cotnet.layers._common import Device, check_layer
from cotnet.layers.attention import CHANNELS_PER_HEAD, ContextAttention
from cotnet.layers.conv import ConvNorm, conv_act
from cotnet.layers.norm import norm_act
from cotnet.ops.local_aggregation import local_aggregation


class CoTStatic(nn.Module):
    """The static context alone, a convolution in four groups: [N, C, H, W] to [N, C, H, W].

    Parameters: ``C * C / 4 * k * k + 2 C``.

    Args:
        dim: Channels C, divisible by 8.
        kernel_size: Odd window size k.
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
        check_layer("CoTStatic", dim, kernel_size, dilation, divisor=CHANNELS_PER_HEAD)
        self.static_context = ConvNorm(dim, dim, kernel_size, dilation=dilation, groups=4, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        return conv_act(self.static_context, x, "relu")


class _TwoContexts(nn.Module, ABC):
    """Both contexts as in ``CoTLayer``, without the attention that fuses them."""

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
        check_layer(type(self).__name__, dim, kernel_size, dilation, divisor=CHANNELS_PER_HEAD)
        self.kernel_size, self.dilation = kernel_size, dilation
        self.static_context = ConvNorm(dim, dim, kernel_size, dilation=dilation, groups=4, device=device, dtype=dtype)
        self.attention = ContextAttention(dim, kernel_size, device=device, dtype=dtype)
        self.value = ConvNorm(dim, dim, device=device, dtype=dtype)
        self.dynamic_norm = nn.BatchNorm2d(dim, device=device, dtype=dtype)

    def contexts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] to the dynamic and the static context, each [N, C, H, W]."""
        static = conv_act(self.static_context, x, "relu")
        weight = self.attention(x, static)
        dynamic = local_aggregation(self.value(x), weight, self.kernel_size, dilation=self.dilation)
        return norm_act(self.dynamic_norm, dynamic, "silu"), static

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}"


class CoTDynamic(_TwoContexts):
    """The dynamic context alone; the static one only serves to make its weights: [N, C, H, W] to [N, C, H, W].

    Args:
        dim: Channels C, divisible by 8.
        kernel_size: Odd window size k of both contexts.
        dilation: Distance between neighbouring cells of both windows.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ValueError: A width that is not divisible as required, an even window, or a number out of range.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        dynamic, _ = self.contexts(x)
        return dynamic


class CoTLinear(_TwoContexts):
    """The sum of both contexts, in the place of an attention that fuses them: [N, C, H, W] to [N, C, H, W].

    Args:
        dim: Channels C, divisible by 8.
        kernel_size: Odd window size k of both contexts.
        dilation: Distance between neighbouring cells of both windows.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ValueError: A width that is not divisible as required, an even window, or a number out of range.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        dynamic, static = self.contexts(x)
        return dynamic + static
