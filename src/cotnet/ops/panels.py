"""The layout in which the native kernels of fused networks take weights.

Legend: B groups, N_in and N_out channels.
"""

import torch.nn.functional as F
from torch import Tensor

PANEL = 32  # output channels whose weights lie side by side; kPanelWidth of native/conv3x3/panel_gemm.h


def pack(weight: Tensor, groups: int) -> Tensor:
    """A grouped 1x1 convolution's [N_out, N_in / B] as panels, [B * panels, N_in / B, PANEL], padded with zeros."""
    by_group = weight.unflatten(0, (groups, -1))
    padded = F.pad(by_group, (0, 0, 0, -by_group.shape[1] % PANEL))
    return padded.flatten(0, 1).unflatten(0, (-1, PANEL)).transpose(1, 2).contiguous()


def unpack(panels: Tensor, channels: int, groups: int) -> Tensor:
    """The inverse of ``pack``: [B * panels, N_in / B, PANEL] to [channels, N_in / B]."""
    padded = panels.transpose(1, 2).flatten(0, 1).unflatten(0, (groups, -1))
    return padded[:, : channels // groups].flatten(0, 1)
