"""The Contextual Transformer layers of *Contextual Transformer Networks for Visual Recognition*, arXiv 2107.12292."""

from torch import Tensor, nn

from cotnet.layers.attention import CHANNELS_PER_MAP, ContextAttention
from cotnet.layers.checks import check_layer
from cotnet.layers.conv import ConvNorm
from cotnet.layers.fusion import ContextFusion
from cotnet.layers.norm import norm_act
from cotnet.ops.local_aggregation import local_aggregation


class CoTLayer(nn.Module):
    """Contextual Transformer layer, in place of a kxk convolution: [N, C, H, W] to [N, C, H, W].

    A group convolution gathers the static context of the neighbours; with the input it makes one filter per position
    and 8 channels, which aggregates the dynamic context; an attention fuses the two.

    Args:
        dim: channels C, divisible by 8.
        kernel_size: odd window size k of both contexts.
        dilation: step between the cells of both windows.

    Raises:
        ValueError: a width that does not divide, an even window, or a number out of range.
    """

    def __init__(self, dim: int, kernel_size: int = 3, *, dilation: int = 1):
        super().__init__()
        check_layer("CoTLayer", dim, kernel_size, dilation, divisor=CHANNELS_PER_MAP)
        self.kernel_size, self.dilation = kernel_size, dilation
        self.static_context = ConvNorm(dim, dim, kernel_size, dilation=dilation, groups=4)
        self.attention = ContextAttention(dim, kernel_size)
        self.value = ConvNorm(dim, dim)
        self.dynamic_norm = nn.BatchNorm2d(dim)
        self.fusion = ContextFusion(dim)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        static = self.static_context(x, "relu")
        weight = self.attention(x, static)
        dynamic = local_aggregation(self.value(x), weight, self.kernel_size, dilation=self.dilation)
        return self.fusion(norm_act(self.dynamic_norm, dynamic, "silu"), static)

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}"


class CoXtLayer(nn.Module):
    """The layer of CoTNeXt: a `CoTLayer` with wider cardinality, [N, C, H, W] to [N, C, H, W].

    The static context has 8 groups; attention, value and aggregation run on two independent halves of the channels.

    Args:
        dim: channels C, divisible by 16.
        kernel_size: odd window size k of both contexts.
        dilation: step between the cells of both windows.

    Raises:
        ValueError: a width that does not divide, an even window, or a number out of range.
    """

    def __init__(self, dim: int, kernel_size: int = 3, *, dilation: int = 1):
        super().__init__()
        check_layer("CoXtLayer", dim, kernel_size, dilation, divisor=2 * CHANNELS_PER_MAP)
        self.kernel_size, self.dilation = kernel_size, dilation
        self.static_context = ConvNorm(dim, dim, kernel_size, dilation=dilation, groups=8)
        self.attention = ContextAttention(dim, kernel_size, groups=2)
        self.value = ConvNorm(dim, dim, groups=2)
        self.dynamic_norm = nn.BatchNorm2d(dim)
        self.fusion = ContextFusion(dim)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        static = self.static_context(x, "relu")
        weight = self.attention(x, static)
        dynamic = local_aggregation(self.value(x), weight, self.kernel_size, dilation=self.dilation, groups=2)
        return self.fusion(norm_act(self.dynamic_norm, dynamic, "silu"), static)

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}"
