"""BatchNorm with what follows it, BatchNorm of globally pooled maps, and what is left of a folded BatchNorm."""

from typing import Any, Literal, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from cotnet.layers.sync_norm import SyncBatchNorm
from cotnet.ops.batch_norm_act import batch_norm_act, finish
from cotnet.ops.plain import is_plain_module

Act = Literal["relu", "silu"]


def norm_act(norm: nn.Module, x: Tensor, act: Act | None = None, *, residual: Tensor | None = None) -> Tensor:
    """``act(norm(x) + residual)``, [N, C, H, W] to [N, C, H, W].

    A BatchNorm in training runs together with what follows it, which saves a third of the memory traffic. Any other
    module, such as a frozen, synchronised or folded norm, or one with hooks, is called.

    Args:
        norm: The norm, or the module in its place.
        x: [N, C, H, W].
        act: The activation at the end.
        residual: [N, C, H, W] to add before the activation.
    """
    if not _is_plain_in_training(norm) or torch.compiler.is_compiling() or has_torch_function_unary(x):
        return finish(norm(x), residual, act, inplace=is_plain_module(norm, *_WRITES_ANEW))
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    return batch_norm_act(
        x,
        residual,
        norm.weight,
        norm.bias,
        norm.running_mean,
        norm.running_var,
        momentum=norm.momentum,
        eps=norm.eps,
        act=act,
    )


def _is_plain_in_training(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether calling the module would be BatchNorm's arithmetic by the statistics of the batch, and nothing else."""
    if not norm.training or not is_plain_module(norm, nn.BatchNorm2d):
        return False
    assert isinstance(norm, nn.BatchNorm2d)
    tracked = norm.track_running_stats and norm.num_batches_tracked is not None
    return norm.affine and tracked and norm.momentum is not None


class PooledBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm of a globally pooled map, [N, C, 1, 1] to [N, C, 1, 1], that also trains on a single image.

    A batch of one leaves one value per channel, which has no variance: it is normalised by the running statistics, and
    they stay the same. Any larger batch is plain BatchNorm.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [N, C, 1, 1]."""
        if has_torch_function_unary(input):  # traced symbolically, the choice by the batch size stays one operation
            return handle_torch_function(_pooled_batch_norm, (input,), input, **self._state())
        if self.training and self.track_running_stats and input.shape[0] == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)

    def _state(self) -> dict[str, Any]:
        names = ("running_mean", "running_var", "weight", "bias", "num_batches_tracked", "training", "momentum", "eps")
        return {name: getattr(self, name) for name in names}


def _pooled_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    num_batches_tracked: Tensor | None,
    training: bool,
    momentum: float | None,
    eps: float,
) -> Tensor:
    """``PooledBatchNorm2d`` as a function of all that it depends on."""
    training = training or running_mean is None
    if training and running_mean is not None and input.shape[0] == 1:
        training = False
    elif training and num_batches_tracked is not None:
        num_batches_tracked.add_(1)
        momentum = 1 / float(num_batches_tracked) if momentum is None else momentum
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum or 0.0, eps)


class FoldedNorm(nn.Identity):
    """What is left of a BatchNorm that has been folded into what is before it."""

    def train(self, mode: bool = True) -> "FoldedNorm":
        """Stay in eval mode.

        Raises:
            RuntimeError: Training is asked for.
        """
        refuse_training(mode)
        return super().train(False)


def refuse_training(mode: bool) -> None:
    """Raise ``RuntimeError`` where training is asked for."""
    if mode:
        raise RuntimeError(
            "a fused network serves inference only; train the network that it was made from, then fuse it again"
        )


# Their output is a tensor that nobody else holds, not even autograd, so that what follows may overwrite it.
_WRITES_ANEW = (nn.BatchNorm2d, nn.SyncBatchNorm, SyncBatchNorm, PooledBatchNorm2d, FoldedNorm)
