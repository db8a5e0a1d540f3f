"""``batch_norm_act`` and the choice between its implementations."""

from typing import Literal

import torch
from torch import Tensor

from cotnet.ops.batch_norm_act import native, reference
from cotnet.ops.dispatch import exporting, transformed


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
    """``act(BatchNorm(x) + residual)`` by the statistics of the batch, which move the running ones.

    On the CPU, channels_last maps of float32, bfloat16 and float16 with float32 parameters go through native kernels,
    which read and write each map as few times as the statistics allow. Everything else goes through PyTorch's
    operators, as do compiled and exported programs.

    Args:
        x: [N, C, H, W].
        residual: [N, C, H, W] to add before the activation, or None.
        weight: [C].
        bias: [C].
        running_mean: [C], moved in place by ``momentum``, or None.
        running_var: [C], moved in the same way, or None.
        momentum: Weight of the batch's statistics in the new running ones.
        eps: Added to the variance.
        act: The activation at the end.

    Returns:
        [N, C, H, W].
    """
    parameters = (weight, bias, running_mean, running_var)
    traced = torch.compiler.is_compiling() or exporting() or transformed()
    if traced or native.unavailable(x, residual, parameters, act) is not None:
        return reference.batch_norm_act(x, residual, *parameters, momentum, eps, act)
    return native.BatchNormAct.apply(x, residual, *parameters, momentum, eps, act)
