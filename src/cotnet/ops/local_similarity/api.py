"""``local_similarity``, the first half of local self-attention; ``local_aggregation`` is the second.

Legend: N batch, C channels, k window size, H x W size of the key, Ho x Wo size of the query.

It is the derivative of local aggregation by its weight, with the query in the gradient's place and the key in the
value's: the same named op, with its contract, gradients, layouts, and its reference, native and Triton implementations.
The term of the relative position is a matrix product of each head's query, and so are its gradients; torch computes
them. A kernel that added it to the similarity would have to sum the gradient of the position over all images and
positions, which is what a matrix product is made for.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from cotnet.ops.dispatch import Impl, autocast, wants_reference
from cotnet.ops.local_aggregation import contract, reference
from cotnet.ops.local_aggregation.api import UNAVAILABLE
from cotnet.ops.local_aggregation.contract import Geometry


def local_similarity(
    query: Tensor,
    key: Tensor,
    kernel_size: int,
    *,
    heads: int,
    position: Tensor | None = None,
    stride: int = 1,
    dilation: int = 1,
    impl: Impl = "auto",
) -> Tensor:
    """Dot product of each query with the key in every cell of its window, head by head.

    ``r[n, h, u*k + v, i, j] = sum over c in head h of q[n, c, i, j] * (key[n, c, i*s - p + u*d, j*s - p + v*d] +
    position[u*k + v, c - first channel of h])`` with stride ``s``, dilation ``d``, ``p = d * (k // 2)``; a key outside
    the image is zero, the position of its cell is not.

    Args:
        query: [N, C, Ho, Wo] with ``Ho = (H - 1) // stride + 1``, of float32, float64, bfloat16 or float16, on
            any device.
        key: [N, C, H, W] of the query's dtype and device; under autocast both are cast.
        kernel_size: Odd window size k.
        heads: Number of heads; each has an equal, contiguous share of the channels.
        position: [k * k, C / heads], a relative position embedding that the heads share, of any float dtype, on the
            query's device.
        stride: Distance between neighbouring output positions.
        dilation: Distance between neighbouring cells of a window.
        impl: Which implementation computes; see ``local_aggregation``.

    Returns:
        [N, heads, k * k, Ho, Wo], the weight that ``local_aggregation(..., grouping="contiguous")`` takes, before a
        softmax; channels_last over [N, heads * k * k, Ho, Wo] where the key is. 16-bit types accumulate in float32 and
        are rounded once; with a position both are therefore cast to float32 for the computation.

    Raises:
        ValueError: Sizes that do not fit, or an option out of its range.
        TypeError: A dtype that is none of these, or two different ones outside autocast.
        RuntimeError: ``impl="native"`` or ``"triton"`` where those kernels cannot serve; the message has the reason.

    Source:
        Steps 1 and 2 of the local self-attention in section 3.1 of arXiv 2107.12292.
    """
    if has_torch_function((query, key)):
        options: dict[str, Any] = {
            "heads": heads,
            "position": position,
            "stride": stride,
            "dilation": dilation,
            "impl": impl,
        }
        return handle_torch_function(local_similarity, (query, key), query, key, kernel_size, **options)
    contract.check_options(kernel_size, stride=stride, dilation=dilation, heads=heads)
    query, key = autocast(query, key)
    if query.ndim != 4 or key.ndim != 4 or query.shape[:2] != key.shape[:2]:
        raise ValueError(
            "expected query [N, C, Ho, Wo] and key [N, C, H, W], "
            f"got query {list(query.shape)} and key {list(key.shape)}"
        )
    contract.check_dtypes(query=query, key=key)
    if query.device != key.device:
        raise ValueError(f"expected query and key on one device, got {query.device} and {key.device}")
    channels, taps = query.shape[1], kernel_size * kernel_size
    if channels % heads:
        raise ValueError(f"expected the channels to be a multiple of the heads, got {channels=}, {heads=}")
    weight = query.new_empty(()).expand(key.shape[0], heads, taps, *query.shape[2:])
    geometry = Geometry(kernel_size, stride, dilation, groups=heads)
    contract.check(key, weight, geometry)
    plain = wants_reference(impl, query, UNAVAILABLE)
    if position is None:
        return _similarity(query, key, geometry, plain=plain)
    _check_position(position, taps, channels // heads, query.device)
    dtype = query.dtype
    if dtype in (torch.float16, torch.bfloat16):
        query, key = query.float(), key.float()
    similarity = _similarity(query, key, geometry, plain=plain)
    with _no_autocast(query.device.type):
        by_position = torch.einsum("nhcij,tc->nhtij", query.unflatten(1, (heads, -1)), position.to(query.dtype))
    return (similarity + by_position).to(dtype)


def _similarity(query: Tensor, key: Tensor, geometry: Geometry, *, plain: bool) -> Tensor:
    """The dot products without a position, in plain PyTorch or by the named op; each head is one group."""
    if plain:
        return reference.aggregate_grad_weight(query, key, geometry, geometry.groups)
    return contract.grad_weight(query, key, *geometry, geometry.groups)


def _check_position(position: Tensor, taps: int, head_channels: int, device: torch.device) -> None:
    if position.shape != (taps, head_channels):
        raise ValueError(f"expected position {[taps, head_channels]}, got {list(position.shape)}")
    if not position.is_floating_point():
        raise TypeError(f"expected position of a float dtype, got {position.dtype}")
    if position.device != device:
        raise ValueError(f"expected position on the query's device {device}, got {position.device}")


def _no_autocast(device: str) -> AbstractContextManager[object]:
    """Autocast would round a matrix product's arguments and its result to 16 bits."""
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
