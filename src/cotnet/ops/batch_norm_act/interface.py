"""The choice between the implementations."""

from typing import Literal

import torch
from torch import Tensor

from cotnet.ops.batch_norm_act import native, reference
from cotnet.ops.local_aggregation.interface import exporting, transformed


def batch_norm_act(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    momentum: float = 0.1,
    eps: float = 1e-5,
    act: Literal["relu", "silu"] | None = None,
) -> Tensor:
    """`act(BatchNorm(x) + residual)` by the statistics of the batch, which move the running ones.

    On the CPU, channels_last maps of float32, bfloat16 and float16 with float32 parameters go through native kernels,
    which read and write each map as few times as the statistics allow. All else goes through PyTorch's operators, as do
    compiled and exported programs.

    Args:
        x: [N, C, H, W].
        residual: [N, C, H, W] to add before the activation, or None.
        weight: [C].
        bias: [C].
        running_mean: [C], moved in place by `momentum`, or None.
        running_var: [C], likewise.
        momentum: share of the batch's statistics in the running ones.
        eps: added to the variance.
        act: the activation at the end.

    Returns:
        [N, C, H, W].
    """
    parameters = (weight, bias, running_mean, running_var)
    eager = not (torch.compiler.is_compiling() or exporting() or transformed())
    if eager and native.serves(x, residual, parameters, act):
        return native.BatchNormAct.apply(x, residual, *parameters, momentum, eps, act)
    return reference.batch_norm_act(x, residual, *parameters, momentum, eps, act)
