"""BatchNorm with what follows it, and BatchNorm of globally pooled maps."""

from typing import Literal, TypeGuard

import torch.nn.functional as F
from torch import Tensor, nn

from cotnet.ops.batch_norm_act import batch_norm_act, finish


def norm_act(
    norm: nn.Module, x: Tensor, act: Literal["relu", "silu"] | None = None, *, residual: Tensor | None = None
) -> Tensor:
    """``act(norm(x) + residual)``, [N, C, H, W] to [N, C, H, W].

    A BatchNorm in training runs together with what follows it, which saves a third of the memory traffic. Any other
    module, such as a frozen, synchronised or folded norm, or one with hooks, is called.

    Args:
        norm: The norm, or the module in its place.
        x: [N, C, H, W].
        act: The activation at the end.
        residual: [N, C, H, W] to add before the activation.
    """
    if not _is_plain(norm):
        return finish(norm(x), residual, act)
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


def _is_plain(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether calling the module would be its arithmetic and nothing else."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and not (norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks or norm._backward_pre_hooks)
    )


class PooledBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm of a globally pooled map, [N, C, 1, 1] to [N, C, 1, 1], that also trains on a single image.

    A batch of one leaves one value per channel, which has no variance: it is normalised by the running statistics, and
    they stay as they are. Any larger batch is plain BatchNorm.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [N, C, 1, 1]."""
        if self.training and self.track_running_stats and input.shape[0] == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)
