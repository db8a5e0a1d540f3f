"""The attention of CoT: from a position and its static context to the filters of that position."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import has_torch_function

from cotnet.layers._common import Device
from cotnet.layers.conv import ConvNorm, conv_act
from cotnet.layers.norm import norm_act
from cotnet.ops.plain import is_plain_module

CHANNELS_PER_HEAD = 8


class ContextAttention(nn.Module):
    """Two 1x1 convolutions that turn [x, static context] into k * k weights for each head and position.

    The weights are signed and not normalised over the window: GroupNorm runs over the taps and positions of each head.

    Args:
        dim: Channels C, divisible by 8.
        kernel_size: Odd window size k.
        groups: Number of independent groups of channels; each sees its own share of x and of the static context.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
    """

    def __init__(
        self, dim: int, kernel_size: int, *, groups: int = 1, device: Device = None, dtype: torch.dtype | None = None
    ):
        super().__init__()
        self.groups = groups
        self.heads = dim // CHANNELS_PER_HEAD
        weights = self.heads * kernel_size * kernel_size
        self.reduce = ConvNorm(2 * dim, dim // 2, groups=groups, device=device, dtype=dtype)
        self.expand = nn.Conv2d(dim // 2, weights, 1, groups=groups, device=device, dtype=dtype)
        self.norm = nn.GroupNorm(self.heads, weights, device=device, dtype=dtype)

    def forward(self, x: Tensor, static: Tensor) -> Tensor:
        """Two [N, C, H, W] to the weights [N, C / 8, k * k, H, W]."""
        return self.norm(self.expand(self.hidden(x, static))).unflatten(1, (self.heads, -1))

    def hidden(self, x: Tensor, static: Tensor) -> Tensor:
        """``relu(reduce([x, static context]))``, [N, C / 2, H, W]."""
        if self._reads_halves() and not has_torch_function((x, static)):
            return norm_act(self.reduce.norm, self.reduce_pair(x, static), "relu")
        # The channels of several groups interleave (x0, k0, x1, k1, ...), so that each group gets its share of both.
        pair = torch.cat([x, static], 1) if self.groups == 1 else torch.stack([x, static], 2).flatten(1, 2)
        return conv_act(self.reduce, pair, "relu")

    def _reads_halves(self) -> bool:
        """Whether ``reduce`` is as it was made, so that its weight says all about its convolution."""
        if not is_plain_module(self.reduce, ConvNorm) or not is_plain_module(self.reduce.conv, nn.Conv2d):
            return False
        conv = self.reduce.conv
        unit = conv.kernel_size == conv.stride == (1, 1) and conv.padding in ((0, 0), "same", "valid")
        return unit and conv.groups == self.groups and conv.bias is None

    def reduce_pair(self, x: Tensor, static: Tensor) -> Tensor:
        """The first convolution, of [x, static context], to [N, C / 2, H, W].

        It is applied to each half separately, so that the joined map need be neither written nor kept for the backward
        pass.
        """
        if self.groups == 1:
            of_x, of_static = self.reduce.conv.weight.chunk(2, 1)
        else:
            of_x, of_static = self.reduce.conv.weight.unflatten(1, (-1, 2)).unbind(2)
        return F.conv2d(x, of_x, groups=self.groups).add_(F.conv2d(static, of_static, groups=self.groups))
