"""CoT with parts taken away: the context ablation of *Contextual Transformer Networks*, arXiv 2107.12292, table 4.

What is left bears the names that it has in `CoTLayer`, so weights pass from one to another entry by entry.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from cotnet.layers.attention import CHANNELS_PER_MAP, ContextAttention
from cotnet.layers.checks import check_layer
from cotnet.layers.conv import ConvNorm
from cotnet.layers.norm import norm_act
from cotnet.ops.local_aggregation import local_aggregation


class CoTStatic(nn.Module):
    """The static context alone, a convolution in four groups: [N, C, H, W] to [N, C, H, W].

    Parameters: `C * C / 4 * k * k + 2 C`.

    Args:
        dim: channels C, divisible by 8.
        kernel_size: odd window size k.
        dilation: step between the cells of the window.

    Raises:
        ValueError: a width that does not divide, an even window, or a number out of range.
    """

    def __init__(self, dim: int, kernel_size: int = 3, *, dilation: int = 1):
        super().__init__()
        check_layer("CoTStatic", dim, kernel_size, dilation, divisor=CHANNELS_PER_MAP)
        self.static_context = ConvNorm(dim, dim, kernel_size, dilation=dilation, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        return self.static_context(x, "relu")


class _TwoContexts(nn.Module, ABC):
    """Both contexts as in `CoTLayer`, without the attention that fuses them."""

    def __init__(self, dim: int, kernel_size: int = 3, *, dilation: int = 1):
        super().__init__()
        check_layer(type(self).__name__, dim, kernel_size, dilation, divisor=CHANNELS_PER_MAP)
        self.kernel_size, self.dilation = kernel_size, dilation
        self.static_context = ConvNorm(dim, dim, kernel_size, dilation=dilation, groups=4)
        self.attention = ContextAttention(dim, kernel_size)
        self.value = ConvNorm(dim, dim)
        self.dynamic_norm = nn.BatchNorm2d(dim)

    def contexts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] to the dynamic and the static context, each [N, C, H, W]."""
        static = self.static_context(x, "relu")
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
    """The dynamic context alone; the static one still makes its weights: [N, C, H, W] to [N, C, H, W].

    Args:
        dim: channels C, divisible by 8.
        kernel_size: odd window size k of both contexts.
        dilation: step between the cells of both windows.

    Raises:
        ValueError: a width that does not divide, an even window, or a number out of range.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        dynamic, _ = self.contexts(x)
        return dynamic


class CoTLinear(_TwoContexts):
    """The sum of both contexts, without an attention to fuse them: [N, C, H, W] to [N, C, H, W].

    Args:
        dim: channels C, divisible by 8.
        kernel_size: odd window size k of both contexts.
        dilation: step between the cells of both windows.

    Raises:
        ValueError: a width that does not divide, an even window, or a number out of range.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        dynamic, static = self.contexts(x)
        return dynamic + static
