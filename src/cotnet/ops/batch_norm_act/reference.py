"""The reference: PyTorch's BatchNorm, then the sum, then the activation."""

import torch.nn.functional as F
from torch import Tensor


def batch_norm_act(
    x: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    act: str | None,
) -> Tensor:
    """[N, C, H, W] to [N, C, H, W]."""
    y = F.batch_norm(x, running_mean, running_var, weight, bias, True, momentum, eps)
    return finish(y, residual, act, inplace=True)


def finish(y: Tensor, residual: Tensor | None, act: str | None, *, inplace: bool) -> Tensor:
    """The residual and the activation after a norm.

    Args:
        y: Output of the norm.
        residual: A map to add, or None.
        act: ``"relu"``, ``"silu"`` or None.
        inplace: Overwrite ``y``, which nobody else may then hold, to save memory.
    """
    if residual is not None:
        y = y.add_(residual) if inplace else y + residual
    if act == "relu":
        return F.relu(y, inplace=inplace or residual is not None)
    return F.silu(y) if act == "silu" else y
