"""Local multi-head self-attention with relative positions: the general form that CoT departs from."""

from typing import Any

import torch
from torch import Tensor, nn

from cotnet.layers._common import Device, check_heads, check_layer
from cotnet.ops.local_aggregation import local_aggregation
from cotnet.ops.local_similarity import local_similarity


class LocalAttention(nn.Module):
    """Each position attends to the k x k window around it: [N, C, H, W] to [N, C, H, W].

    Query, key and value are 1x1 convolutions of x. Each head takes the dot products of the query with the keys in its
    window, adds those with a position embedding of each cell that the heads share, normalises them by a softmax over
    the cells, and sums the values of the window by these weights. Keys and values outside the image are zero, and their
    cells stay in the softmax.

    Parameters: ``3 C * C + k * k * C / heads``. Multiply-accumulates a position: ``3 C * C + 3 k * k * C``.

    Args:
        dim: Channels C, divisible by ``heads``.
        kernel_size: Odd window size k.
        dilation: Distance between neighbouring cells of the window.
        heads: Number of heads; each has an equal, contiguous share of the channels.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ValueError: A width that is not divisible as required, an even window, or a number out of range.

    Source:
        Section 3.1 of arXiv 2107.12292; as a stand-alone layer arXiv 1906.05909.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        heads: int = 8,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        check_heads(heads)
        check_layer("LocalAttention", dim, kernel_size, dilation, divisor=heads)
        self.kernel_size, self.dilation, self.heads = kernel_size, dilation, heads
        options: dict[str, Any] = {"bias": False, "device": device, "dtype": dtype}
        self.query = nn.Conv2d(dim, dim, 1, **options)
        self.key = nn.Conv2d(dim, dim, 1, **options)
        self.value = nn.Conv2d(dim, dim, 1, **options)
        self.position = nn.Parameter(torch.empty(kernel_size * kernel_size, dim // heads, device=device, dtype=dtype))
        self.init_weights()

    def init_weights(self) -> None:
        """Start with logits of about unit variance, for which the equations have no scale."""
        dim, head_dim = self.query.in_channels, self.position.shape[1]
        for projection in (self.query, self.key, self.value):
            nn.init.normal_(projection.weight, std=dim**-0.5)
        self.query.weight.data.mul_(head_dim**-0.5)
        nn.init.normal_(self.position, std=head_dim**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        weight = self.attention(x)
        return local_aggregation(self.value(x), weight, self.kernel_size, dilation=self.dilation, grouping="contiguous")

    def attention(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the weights [N, heads, k * k, H, W], which sum to 1 over the window."""
        similarity = local_similarity(
            self.query(x),
            self.key(x),
            self.kernel_size,
            heads=self.heads,
            position=self.position,
            dilation=self.dilation,
        )
        return similarity.softmax(2)

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, heads={self.heads}"
