"""What bytes stand for, and weights and biases as integers.

Legend: C_out channels out, T taps, C_in / B channels of a group in.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cotnet.ops.int8_panels import LARGEST_BIAS, pack_bytes


class ByteScale(NamedTuple):
    """A byte ``q`` stands for ``(q - zero) * scale``.

    Attributes:
        scale: Above 0.
        zero: From 0 to 255.
    """

    scale: float
    zero: int

    @classmethod
    def of_range(cls, low: float, high: float) -> "ByteScale":
        """The finest one that has room for 0 and everything from ``low`` to ``high``."""
        low, high = min(low, 0.0), max(high, 0.0)
        # Above the smallest normal float32 even where everything is 0, so that its inverse is finite.
        scale = max((high - low) / 255, 1e-30)
        return cls(scale, min(max(round(-low / scale), 0), 255))

    def around(self, x: Tensor) -> Tensor:
        """Floats as near to ``x`` as bytes come."""
        return ((x / self.scale).round().add_(self.zero).clamp_(0, 255) - self.zero) * self.scale


class IntegerWeight(NamedTuple):
    """A convolution's weight and bias as integers.

    Attributes:
        panels: int8, see ``int8_panels.pack_bytes``.
        scale: float64 [C_out], of the weight, times that of the input: of the sums.
        bias: int32 [C_out], at the scale of the sums, with the effect of the input's zero taken off.
        rounded: float64 [C_out, T, C_in / B], what the integers stand for.
    """

    panels: Tensor
    scale: Tensor
    bias: Tensor
    rounded: Tensor


def integer_weight(weight: Tensor, bias: Tensor, in_scale: float, in_zero: int | Tensor, groups: int) -> IntegerWeight:
    """Symmetric int8 with a scale for each output channel, and the bias at the scale of the sums.

    Args:
        weight: [C_out, T, C_in / B].
        bias: [C_out].
        in_scale: Of the input.
        in_zero: Stands for 0 in the input; a tensor that broadcasts against the weight where it differs.
        groups: Number of groups B.
    """
    weight, bias = weight.detach().double(), bias.detach().double()
    largest = weight.abs().amax((1, 2))
    # A channel that hardly has weights gets a scale that its bias is in reach of.
    scale = torch.maximum(largest / 127, bias.abs() / in_scale / (LARGEST_BIAS // 2)).clamp_min(1e-30)
    whole = (weight / scale[:, None, None]).round().clamp_(-127, 127)
    effect = (whole * in_zero).sum((1, 2))
    sums = scale * in_scale
    return IntegerWeight(
        pack_bytes(whole.to(torch.int8), groups),
        sums,
        ((bias / sums).round() - effect).to(torch.int32),
        whole * scale[:, None, None],
    )
