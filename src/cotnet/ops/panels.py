"""How the native kernels of fused networks take weights and give maps."""

import torch
import torch.nn.functional as F
from torch import Tensor

PANEL = 32  # output channels whose weights lie side by side; kPanelWidth of native/conv3x3/panel_gemm.h


def pack(weight: Tensor, groups: int) -> Tensor:
    """A grouped 1x1 convolution's [N_out, N_in / B] as panels, [B * panels, N_in / B, PANEL], filled up with zeros."""
    by_group = weight.unflatten(0, (groups, -1))
    filled = F.pad(by_group, (0, 0, 0, -by_group.shape[1] % PANEL))
    return filled.flatten(0, 1).unflatten(0, (-1, PANEL)).transpose(1, 2).contiguous()


def unpack(panels: Tensor, channels: int, groups: int) -> Tensor:
    """The inverse of `pack`: [B * panels, N_in / B, PANEL] to [channels, N_in / B]."""
    filled = panels.transpose(1, 2).flatten(0, 1).unflatten(0, (groups, -1))
    return filled[:, : channels // groups].flatten(0, 1)


def empty_output(like: Tensor, channels: int | None = None) -> Tensor:
    """An uninitialised channels_last map of the size of `like`, perhaps with other channels."""
    shape = (like.shape[0], channels or like.shape[1], *like.shape[2:])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
