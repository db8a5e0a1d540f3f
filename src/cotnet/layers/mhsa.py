"""Global self-attention with 2-D relative positions, of *Bottleneck Transformers*, arXiv 2101.11605."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from cotnet.layers._common import Device, check_heads, check_layer


class GlobalAttention(nn.Module):
    """Each position attends to all positions: [N, C, H, W] to [N, C, H, W], any H and W.

    The logits of a head are ``q . k / sqrt(C / heads) + q . (row embedding + column embedding)``, with one embedding
    for each distance in rows and one for each in columns; distances of ``reach`` and more share the outermost.

    Parameters: ``3 C * C + 2 (2 reach - 1) * C / heads``. Multiply-accumulates a position: ``3 C * C + 2 C * H * W``.
    Memory grows with ``heads * (H * W) ** 2``, which is affordable in the last stages.

    Args:
        dim: Channels C, divisible by ``heads``.
        kernel_size: Has no effect, since every window is the whole map.
        dilation: Has no effect, for the same reason.
        heads: Number of heads; each has an equal, contiguous share of the channels.
        reach: Positions up to ``reach - 1`` rows or columns away have separate embeddings.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        ValueError: A width that is not divisible as required, or a number out of range.
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        heads: int = 4,
        reach: int = 32,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        check_heads(heads)
        check_layer("GlobalAttention", dim, kernel_size, dilation, divisor=heads)
        if reach < 1:
            raise ValueError(f"GlobalAttention needs a reach of at least 1, got {reach=}")
        self.heads, self.reach = heads, reach
        self.query_key_value = nn.Conv2d(dim, 3 * dim, 1, bias=False, device=device, dtype=dtype)
        self.row_position = nn.Parameter(torch.empty(2 * reach - 1, dim // heads, device=device, dtype=dtype))
        self.column_position = nn.Parameter(torch.empty(2 * reach - 1, dim // heads, device=device, dtype=dtype))
        self.init_weights()

    def init_weights(self) -> None:
        """Start with logits of about unit variance."""
        nn.init.normal_(self.query_key_value.weight, std=self.query_key_value.in_channels**-0.5)
        for position in (self.row_position, self.column_position):
            nn.init.normal_(position, std=position.shape[1] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]."""
        height, width = x.shape[2:]
        by_head = self.query_key_value(x).unflatten(1, (3, self.heads, -1)).flatten(4).transpose(3, 4)
        query, key, value = by_head.unbind(1)
        logits = self.position_logits(query.unflatten(2, (height, width)))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=logits)
        return mixed.transpose(2, 3).flatten(1, 2).unflatten(2, (height, width))

    def position_logits(self, query: Tensor) -> Tensor:
        """Queries [N, heads, H, W, C / heads] to what positions add to the logits, [N, heads, H * W, H * W]."""
        height, width = query.shape[2:4]
        rows = self.row_position.to(query.dtype)[_distances(height, self.reach, query)]
        columns = self.column_position.to(query.dtype)[_distances(width, self.reach, query)]
        by_row = torch.einsum("nhijd,iud->nhiju", query, rows)
        by_column = torch.einsum("nhijd,jvd->nhijv", query, columns)
        return (by_row[..., None] + by_column[..., None, :]).flatten(4).flatten(2, 3)

    def extra_repr(self) -> str:
        """The options that the submodules do not show."""
        return f"heads={self.heads}, reach={self.reach}"


def _distances(size: int, reach: int, like: Tensor) -> Tensor:
    """[size, size] on the device of ``like``: the row of an embedding for each pair of a query's and a key's place."""
    if has_torch_function_unary(like):
        return handle_torch_function(_distances, (like,), size, reach, like)
    at = torch.arange(size, device=like.device)
    return (at - at[:, None]).clamp(1 - reach, reach - 1) + reach - 1
