"""Normalisation of globally pooled maps."""

import torch.nn.functional as F
from torch import Tensor, nn


class PooledBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm of a globally pooled map, [N, C, 1, 1] to [N, C, 1, 1], that also trains on a single picture.

    A batch of one leaves one value per channel, which has no variance: it is normalised by the running statistics, and
    they stay as they are. Any larger batch is plain BatchNorm.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [N, C, 1, 1]."""
        if self.training and self.track_running_stats and input.shape[0] == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)
