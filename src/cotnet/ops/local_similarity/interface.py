"""`local_similarity`, the first half of local self-attention; `local_aggregation` is the second.

It is the derivative of local aggregation by its weight, with the query in the gradient's place and the key in the
value's: the same named op, with its gradients, layouts and every fast implementation.
"""

from typing import Literal

import torch
from torch import Tensor

from cotnet.ops.local_aggregation import contract, reference
from cotnet.ops.local_aggregation.interface import autocast, exporting


def local_similarity(
    query: Tensor,
    key: Tensor,
    kernel_size: int,
    *,
    heads: int,
    position: Tensor | None = None,
    stride: int = 1,
    dilation: int = 1,
    impl: Literal["auto", "reference"] = "auto",
) -> Tensor:
    """Dot product of each query with the key in every cell of its window, head by head.

    `r[n, h, u*k + v, i, j] = sum over c in head h of q[n, c, i, j] * (key[n, c, i*s - p + u*d, j*s - p + v*d] +
    position[u*k + v, c - first channel of h])` with stride `s`, dilation `d`, `p = d * (k // 2)`; a key outside the
    picture is zero, the position of its cell is not.

    Args:
        query: [N, C, Ho, Wo] with `Ho = (H - 1) // stride + 1`, any float dtype and device.
        key: [N, C, H, W] of the query's dtype and device; under autocast both are cast.
        kernel_size: odd window size k.
        heads: number of heads; each has an evenly divided, contiguous run of the channels.
        position: [k * k, C / heads], a relative position embedding that the heads share.
        stride: step between output positions.
        dilation: step between the cells of a window.
        impl: `"reference"` asks for plain PyTorch, `"auto"` takes the best that the device has.

    Returns:
        [N, heads, k * k, Ho, Wo], the weight that `local_aggregation(..., grouping="contiguous")` takes, before a
        softmax. 16-bit types accumulate in float32.

    Raises:
        ValueError: sizes that do not fit, or an option out of its range.
        TypeError: a dtype that is not a float type, or two different ones outside autocast.

    Source:
        Steps 1 and 2 of the local self-attention in section 3.1 of arXiv 2107.12292.
    """
    if impl not in ("auto", "reference"):
        raise ValueError(f"expected impl 'auto' or 'reference', got {impl!r}")
    query, key = autocast(query, key)
    if query.ndim != 4 or key.ndim != 4 or query.shape[:2] != key.shape[:2]:
        raise ValueError(
            "expected query [N, C, Ho, Wo] and key [N, C, H, W], "
            f"got query {list(query.shape)} and key {list(key.shape)}"
        )
    weight_shape = (key.shape[0], heads, kernel_size * kernel_size, *query.shape[2:])
    contract.check(key, query.new_empty(()).expand(weight_shape), kernel_size, stride, dilation, heads)
    run = reference.aggregate_grad_weight if impl == "reference" or exporting() else contract.grad_weight
    similarity = run(query, key, kernel_size, stride, dilation, heads, heads)
    if position is None:
        return similarity
    if position.shape != (kernel_size * kernel_size, query.shape[1] // heads):
        raise ValueError(
            f"expected position {[kernel_size * kernel_size, query.shape[1] // heads]}, got {list(position.shape)}"
        )
    by_head = query.unflatten(1, (heads, -1))
    return similarity + torch.einsum("nhcij,tc->nhtij", by_head, position.to(query.dtype))
