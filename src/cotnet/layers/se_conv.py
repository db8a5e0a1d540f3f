"""The SE convolution of the hybrid SE-CoTNetD: split attention (arXiv 2004.08955) with a single split."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotnet.layers._common import Device
from cotnet.layers.conv import ConvNorm, conv_act
from cotnet.layers.norm import PooledBatchNorm2d


class SEConv(nn.Module):
    """A k x k convolution, then a gate per channel from the pooled image: [N, C, H, W] to [N, C, H', W'].

    Args:
        dim: Channels C.
        kernel_size: Odd window size.
        stride: Distance between neighbouring output positions; H' = ceil(H / stride).
        dilation: Distance between neighbouring cells of the window.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        hidden = max(dim // 4, 32)
        self.local = ConvNorm(dim, dim, kernel_size, stride=stride, dilation=dilation, device=device, dtype=dtype)
        self.squeeze = nn.Conv2d(dim, hidden, 1, device=device, dtype=dtype)
        self.squeeze_norm = PooledBatchNorm2d(hidden, device=device, dtype=dtype)
        self.excite = nn.Conv2d(hidden, dim, 1, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H', W']."""
        x = conv_act(self.local, x, "silu")
        pooled = F.silu(self.squeeze_norm(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(self.excite(pooled))
