"""BatchNorm over the images of all processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """BatchNorm over the images of all processes, [N, C, ...] to [N, C, ...], on any device.

    Mean and variance come from two sums each, as precise as those of one process with the whole batch, and processes
    may have batches of different sizes. Without other processes, and in eval mode, it is plain BatchNorm.

    Args:
        norm: The BatchNorm to take the place of, with timm's dropout and activation behind it where it has them.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [N, C, ...]."""
        together = self.training and dist.is_initialized() and dist.get_world_size() > 1
        return self.act(self.drop(self._normalise(input) if together else super().forward(input)))

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions is served, also by a symbolic trace, which knows none."""

    def _normalise(self, input: Tensor) -> Tensor:
        x = input if input.dtype == torch.float64 else input.float()
        others = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = torch.tensor([x.numel() / max(x.shape[1], 1)], dtype=x.dtype, device=x.device)
        sums = _SumOverProcesses.apply(torch.cat([x.sum(others), count]))
        total = sums[-1].detach().clamp(min=1)  # a mask head may have no object in any process
        mean = sums[:-1] / total
        centred = x - mean.view(shape)
        var = _SumOverProcesses.apply(centred.square().sum(others)) / total
        if self.track_running_stats and sums[-1] > 0:
            self._track(mean.detach(), var.detach() * total / (total - 1).clamp(min=1))
        y = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(var.to(self.running_var), share)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of every process's tensor; so is its gradient, since every process's loss depends on the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.contiguous().clone()
        dist.all_reduce(total)
        return total
