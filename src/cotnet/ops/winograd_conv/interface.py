"""The choice between the implementations of the 3x3 convolution."""

import torch
from torch import Tensor

from cotnet.ops.local_aggregation.interface import exporting
from cotnet.ops.local_aggregation.interface import transformed as under_transform
from cotnet.ops.winograd_conv import contract, native, reference


def _portable(x: Tensor, weight: Tensor, transformed: Tensor, bias: Tensor, groups: int, relu: bool) -> Tensor:
    contract.check(x, weight, transformed, bias, groups)
    return reference.conv(x, weight, transformed, bias, groups, relu)


contract.LIBRARY.impl("winograd_conv", _portable, "CompositeExplicitAutograd")
contract.LIBRARY.impl("winograd_conv", native.conv, "CPU")


def winograd_conv(
    x: Tensor, weight: Tensor, transformed: Tensor, bias: Tensor, *, groups: int = 1, relu: bool = False
) -> Tensor:
    """A 3x3 convolution of stride 1 and padding 1, for inference.

    Args:
        x: [N, C, H, W].
        weight: [C_out, C / groups, 3, 3].
        transformed: `transform(weight, groups)`.
        bias: [C_out].
        groups: independent groups of channels.
        relu: apply ReLU.

    Returns:
        [N, C_out, H, W], channels_last. Where a gradient is wanted, it is of the plain convolution.

    Raises:
        ValueError: sizes that do not fit.
        TypeError: different dtypes.
    """
    differentiated = under_transform() or (torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias)))
    if not exporting() and not differentiated and native.available(x):
        return contract.conv(x, weight, transformed, bias, groups, relu)
    return reference.conv(x, weight, transformed, bias, groups, relu)
