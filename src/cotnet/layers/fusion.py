"""Attention fusion of static and dynamic context, in the manner of selective kernels (arXiv 1903.06586)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from cotnet.layers._common import Device
from cotnet.layers.norm import PooledBatchNorm2d


class ContextFusion(nn.Module):
    """Mix dynamic and static context channel by channel, by shares in (0, 1) that are computed from both.

    The two shares of a channel are a softmax over their pair, that is one sigmoid of the difference of their logits.
    Channel 2c of ``expand`` is the logit of the dynamic context of channel c, 2c + 1 that of its static context.

    Args:
        dim: Channels C of each context.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
    """

    def __init__(self, dim: int, *, device: Device = None, dtype: torch.dtype | None = None):
        super().__init__()
        hidden = max(dim // 2, 32)
        self.reduce = nn.Conv2d(dim, hidden, 1, device=device, dtype=dtype)
        self.norm = PooledBatchNorm2d(hidden, device=device, dtype=dtype)
        self.expand = nn.Conv2d(hidden, 2 * dim, 1, device=device, dtype=dtype)

    def forward(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """Two [N, C, H, W] to one."""
        return torch.lerp(static, dynamic, self.dynamic_share(dynamic, static))

    def dynamic_share(self, dynamic: Tensor, static: Tensor) -> Tensor:
        """[N, C, 1, 1]: the share of the dynamic context; the rest is that of the static context."""
        pooled = global_mean(dynamic) + global_mean(static)
        logits = self.expand(F.relu(self.norm(self.reduce(pooled)))).unflatten(1, (-1, 2))
        return torch.sigmoid(logits[:, :, 0] - logits[:, :, 1])


def global_mean(x: Tensor) -> Tensor:
    """[N, C, H, W] to its mean over the positions, [N, C, 1, 1]."""
    if has_torch_function_unary(x):
        return handle_torch_function(global_mean, (x,), x)
    if x.dtype == torch.float16:  # cannot hold the sum over a large image
        return x.mean((2, 3), keepdim=True)
    # The gradient of a sum is a view; that of a mean would be written out for every position.
    return x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
