"""``winograd_conv`` and the choice between the implementations of the 3x3 convolution."""

import torch
from torch import Tensor

from cotnet.ops import dispatch
from cotnet.ops.winograd_conv import contract, native


def _any_device(x: Tensor, weight: Tensor, transformed: Tensor, bias: Tensor, groups: int, relu: bool) -> Tensor:
    contract.check(x, weight, transformed, bias, groups)
    return contract.reference(x, weight, transformed, bias, groups, relu)


contract.LIBRARY.impl("winograd_conv", _any_device, "CompositeExplicitAutograd")
contract.LIBRARY.impl("winograd_conv", native.conv, "CPU")


def winograd_conv(
    x: Tensor, weight: Tensor, transformed: Tensor, bias: Tensor, *, groups: int = 1, relu: bool = False
) -> Tensor:
    """A 3x3 convolution of stride 1 and padding 1, for inference.

    Args:
        x: [N, C, H, W].
        weight: [C_out, C / groups, 3, 3].
        transformed: ``transform(weight, groups)``.
        bias: [C_out].
        groups: Number of independent groups of channels.
        relu: Apply ReLU.

    Returns:
        [N, C_out, H, W], channels_last. Where a gradient is wanted, the plain convolution computes.

    Raises:
        ValueError: Sizes that do not fit.
        TypeError: Different dtypes.
    """
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias))
    plain = differentiated or dispatch.transformed() or dispatch.exporting()
    if plain or native.unavailable(x) is not None:
        return contract.reference(x, weight, transformed, bias, groups, relu)
    return contract.conv(x, weight, transformed, bias, groups, relu)
