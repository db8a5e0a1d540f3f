"""The layout in which the native kernels of integer networks take weights, and the limits of their sums.

Legend: B groups, K inputs of one output (taps times channels of a group), N_in and N_out channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PANEL = 32  # output channels whose weights lie side by side; kPanel of native/gemm.h
FOUR = 4  # inputs of one output side by side, which one instruction adds up
DEEPEST = 32768  # K at most: that many products of bytes, and a bias of at most 2**30, stay within 32 bits
LARGEST_BIAS = 2**30


def whole_fours(channels: int) -> int:
    """The least multiple of 4 that is not below."""
    return -(-channels // FOUR) * FOUR


def panel_shape(outputs: int, taps: int, inputs: int, groups: int) -> tuple[int, int, int, int]:
    """The shape of ``pack_bytes`` for so many outputs in all, and inputs of one group."""
    return groups * -(-outputs // groups // PANEL), taps * whole_fours(inputs) // FOUR, PANEL, FOUR


def pack_bytes(weight: Tensor, groups: int) -> Tensor:
    """A convolution's int8 weight as panels.

    Args:
        weight: [N_out, taps, N_in / B].
        groups: Number of groups B.

    Returns:
        [B * panels, taps * N_in / B / 4, 32, 4], padded with zeros.
    """
    deep = F.pad(weight, (0, -weight.shape[2] % FOUR)).flatten(1).unflatten(0, (groups, -1))
    padded = F.pad(deep, (0, 0, 0, -deep.shape[1] % PANEL))
    panels = padded.flatten(0, 1).unflatten(0, (-1, PANEL)).unflatten(2, (-1, FOUR))
    return panels.transpose(1, 2).contiguous()


def unpack_bytes(panels: Tensor, outputs: int, taps: int, inputs: int, groups: int) -> Tensor:
    """The inverse of ``pack_bytes``: to [outputs, taps, inputs]."""
    padded = panels.transpose(1, 2).flatten(2).flatten(0, 1).unflatten(0, (groups, -1))
    return padded[:, : outputs // groups].flatten(0, 1).unflatten(1, (taps, -1))[..., :inputs]


def requantize(y: Tensor, zero: int, lowest: int) -> Tensor:
    """float32 to the nearest bytes, of two equally near ones the even one, with ``zero`` added; NaN becomes 255."""
    return torch.nan_to_num((y.round() + zero).clamp(lowest, 255), nan=255.0).to(torch.uint8)
