"""The contract of the 3x3 convolution that is fast for groups: one named op for inference, without a gradient.

Legend: N batch, C and C_out channels, H x W size.

``cotnet::winograd_conv`` is ``conv2d`` of stride 1 with zero padding of 1, followed by ReLU if asked for; [N, C, H, W]
to [N, C_out, H, W], channels_last. It takes the weight both plain and transformed; an implementation uses one of them.
F(2x2, 3x3) of Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, arXiv 1509.09308: a tile of 2 x 2
outputs takes 16 multiplications instead of 36, and float32 results differ from a plain convolution's by roundings.
Groups of at most ``NARROW`` channels are multiplied as they are: transforms would take longer than they save.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cotnet.ops.library import LIBRARY, TAGS, empty_output, register_fake
from cotnet.ops.panels import pack

LIBRARY.define(
    "winograd_conv(Tensor x, Tensor weight, Tensor transformed, Tensor bias, int groups, bool relu) -> Tensor",
    tags=TAGS,
)
conv = torch.ops.cotnet.winograd_conv
NARROW = 16  # channels in and out of a group; kNarrow of native/abi.h


def is_narrow(inputs: int, outputs: int, groups: int) -> bool:
    """Whether the groups of such a convolution are too narrow for transforms."""
    return max(inputs, outputs) <= NARROW * groups


def transform(weight: Tensor, groups: int) -> Tensor:
    """A weight [C_out, C / groups, 3, 3] as the kernel reads it.

    Returns:
        The transformed weight in panels, [groups * 16 * panels, C / groups, 32]; of narrow groups the weight itself in
        a panel, [groups, 9 * C / groups, 32].
    """
    if is_narrow(weight.shape[1] * groups, len(weight), groups):
        return pack(weight.permute(0, 2, 3, 1).flatten(1), groups)
    basis = weight.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype=torch.float64)
    transformed = torch.einsum("pu,ncuv,qv->pqnc", basis, weight.double(), basis).flatten(0, 1)
    by_group = transformed.unflatten(1, (groups, -1)).transpose(0, 1).flatten(0, 2)
    return pack(by_group, groups * 16).to(weight.dtype)


def reference(x: Tensor, weight: Tensor, transformed: Tensor, bias: Tensor, groups: int, relu: bool) -> Tensor:
    """The definition: the convolution itself, [N, C, H, W] to [N, C_out, H, W]."""
    y = F.conv2d(x, weight, bias, padding=1, groups=groups)
    return (F.relu(y) if relu else y).contiguous(memory_format=torch.channels_last)


def check(x: Tensor, weight: Tensor, transformed: Tensor, bias: Tensor, groups: int) -> None:
    """Raise ``ValueError`` or ``TypeError`` that shows what does not fit."""
    tensors = (weight, transformed, bias)
    if not x.is_floating_point() or any(t.dtype != x.dtype or t.device != x.device for t in tensors):
        kinds = sorted({f"{t.dtype} on {t.device}" for t in (x, *tensors)})
        raise TypeError(f"expected one float dtype on one device, got {', '.join(kinds)}")
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"expected x [N, C, H, W] of at least one channel and pixel, got {list(x.shape)}")
    channels, outputs = x.shape[1], weight.shape[0]
    if groups < 1 or channels % groups or outputs % groups or tuple(weight.shape[1:]) != (channels // groups, 3, 3):
        raise ValueError(
            f"expected weight [C_out, C / groups, 3, 3] for {channels=}, {groups=}, got {list(weight.shape)}"
        )
    panels = (groups * 16 * -(-outputs // groups // 32), channels // groups, 32)
    if is_narrow(channels, outputs, groups):
        panels = (groups, 9 * channels // groups, 32)
    if tuple(transformed.shape) != panels or tuple(bias.shape) != (outputs,):
        raise ValueError(
            f"expected transformed {list(panels)} and bias [{outputs}], "
            f"got {list(transformed.shape)} and {list(bias.shape)}"
        )


@register_fake("winograd_conv")
def _(x: Tensor, weight: Tensor, transformed: Tensor, bias: Tensor, groups: int, relu: bool) -> Tensor:
    return empty_output(x, len(weight))
