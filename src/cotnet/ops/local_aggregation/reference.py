"""The reference implementation: plain PyTorch, any device, traceable; the definition the others are tested against.

Legend: N batch, C channels, G heads, T taps = k * k, H x W input size, I x J output size. Channels and heads divide
into B groups; within a group, S channels share each head: C = B * S * (G / B), the head's index innermost.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from cotnet.ops.local_aggregation.contract import Geometry


def aggregate(value: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Local aggregation, [N, C, H, W] and [N, G, T, I, J] to [N, C, I, J]."""
    heads, (out_h, out_w) = weight.shape[1], weight.shape[3:]
    geometry = _bounded(geometry, *value.shape[2:])
    padded, weight = _accumulable(_pad(value, geometry)), _accumulable(weight)
    out = None
    for tap, rows, columns in _taps(geometry, out_h, out_w):
        cells = _by_head(padded[:, :, rows, columns], geometry.groups, heads)
        term = cells * _over_channels(weight[:, :, tap], geometry.groups)
        out = term if out is None else out + term
    assert out is not None
    return _in_layout_of(value, out.flatten(1, 3).to(value.dtype))


def aggregate_grad_value(grad_out: Tensor, weight: Tensor, geometry: Geometry, height: int, width: int) -> Tensor:
    """Gradient of the value, [N, C, I, J] and [N, G, T, I, J] to [N, C, height, width]."""
    batch, channels, out_h, out_w = grad_out.shape
    geometry = _bounded(geometry, height, width)
    pad = geometry.dilation * (geometry.kernel_size // 2)
    grad, weight = _by_head(_accumulable(grad_out), geometry.groups, weight.shape[1]), _accumulable(weight)
    padded = grad.new_zeros(batch, channels, height + 2 * pad, width + 2 * pad)
    for tap, rows, columns in _taps(geometry, out_h, out_w):
        padded[:, :, rows, columns] += (grad * _over_channels(weight[:, :, tap], geometry.groups)).flatten(1, 3)
    grad_value = padded[:, :, pad : pad + height, pad : pad + width]
    return _in_layout_of(grad_out, grad_value.to(grad_out.dtype))


def aggregate_grad_weight(grad_out: Tensor, value: Tensor, geometry: Geometry, heads: int) -> Tensor:
    """Gradient of the weight, [N, C, I, J] and [N, C, H, W] to [N, heads, T, I, J]."""
    out_h, out_w = grad_out.shape[2:]
    geometry = _bounded(geometry, *value.shape[2:])
    grad = _by_head(_accumulable(grad_out), geometry.groups, heads)
    padded = _accumulable(_pad(value, geometry))
    products = [
        (grad * _by_head(padded[:, :, rows, columns], geometry.groups, heads)).sum(2).flatten(1, 2)
        for _, rows, columns in _taps(geometry, out_h, out_w)
    ]
    grad_weight = torch.stack(products, dim=2).to(value.dtype)
    return _in_layout_of(value, grad_weight.flatten(1, 2)).unflatten(1, (heads, geometry.taps))


def _bounded(geometry: Geometry, height: int, width: int) -> Geometry:
    """The geometry bounded by the image so that its padding is, too; unchanged for a program that serves any size."""
    if torch.compiler.is_compiling() or not isinstance(height, int):
        return geometry
    return geometry.bounded(height, width)


def _taps(geometry: Geometry, out_h: int, out_w: int) -> Iterator[tuple[int, slice, slice]]:
    """Each tap with the rows and columns of the padded value that it reads."""
    kernel_size, stride, dilation, _ = geometry
    for tap in range(geometry.taps):
        top, left = dilation * (tap // kernel_size), dilation * (tap % kernel_size)
        rows = slice(top, top + stride * (out_h - 1) + 1, stride)
        columns = slice(left, left + stride * (out_w - 1) + 1, stride)
        yield tap, rows, columns


def _pad(value: Tensor, geometry: Geometry) -> Tensor:
    pad = geometry.dilation * (geometry.kernel_size // 2)
    # A strided slice then never spans all rows, which at some sizes alone would bind an exported program to those.
    beyond = geometry.stride if geometry.stride > 1 else 0
    return F.pad(value, [pad, pad + beyond, pad, pad + beyond])


def _accumulable(x: Tensor) -> Tensor:
    """16-bit floats accumulate in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _by_head(x: Tensor, groups: int, heads: int) -> Tensor:
    """[N, C, I, J] to [N, B, S, G / B, I, J]."""
    return x.unflatten(1, (groups, x.shape[1] // heads, heads // groups))


def _over_channels(weight: Tensor, groups: int) -> Tensor:
    """[N, G, I, J] to [N, B, 1, G / B, I, J]."""
    return weight.unflatten(1, (groups, 1, weight.shape[1] // groups))


def _in_layout_of(like: Tensor, x: Tensor) -> Tensor:
    if torch._C._are_functorch_transforms_active():  # vmap knows no channels_last
        return x.contiguous()
    channels_last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
