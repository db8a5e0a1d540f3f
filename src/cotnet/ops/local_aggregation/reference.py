"""The reference implementation: plain PyTorch, any device, traceable; the definition the others are tested against.

Legend: N batch, C channels, G weight maps, T taps = k * k, H x W input size, I x J output size. Channels and maps
divide into B blocks; within a block, S channels share each map: C = B * S * (G / B), the map's index innermost.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def aggregate(value: Tensor, weight: Tensor, kernel_size: int, stride: int, dilation: int, blocks: int) -> Tensor:
    """Local aggregation, [N, C, H, W] and [N, G, T, I, J] to [N, C, I, J]."""
    maps, (out_h, out_w) = weight.shape[1], weight.shape[3:]
    stride, dilation = _steps(stride, dilation, *value.shape[2:])
    padded, weight = _accumulable(_pad(value, kernel_size, stride, dilation)), _accumulable(weight)
    out = None
    for tap, rows, columns in _taps(kernel_size, stride, dilation, out_h, out_w):
        term = _by_map(padded[:, :, rows, columns], blocks, maps) * _over_channels(weight[:, :, tap], blocks)
        out = term if out is None else out + term
    assert out is not None
    return _in_layout_of(value, out.flatten(1, 3).to(value.dtype))


def aggregate_grad_value(
    grad_out: Tensor,
    weight: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    blocks: int,
    height: int,
    width: int,
) -> Tensor:
    """Gradient of the value, [N, C, I, J] and [N, G, T, I, J] to [N, C, height, width]."""
    batch, channels, out_h, out_w = grad_out.shape
    stride, dilation = _steps(stride, dilation, height, width)
    pad = dilation * (kernel_size // 2)
    grad, weight = _by_map(_accumulable(grad_out), blocks, weight.shape[1]), _accumulable(weight)
    padded = grad.new_zeros(batch, channels, height + 2 * pad, width + 2 * pad)
    for tap, rows, columns in _taps(kernel_size, stride, dilation, out_h, out_w):
        padded[:, :, rows, columns] += (grad * _over_channels(weight[:, :, tap], blocks)).flatten(1, 3)
    grad_value = padded[:, :, pad : pad + height, pad : pad + width]
    return _in_layout_of(grad_out, grad_value.to(grad_out.dtype))


def aggregate_grad_weight(
    grad_out: Tensor, value: Tensor, kernel_size: int, stride: int, dilation: int, blocks: int, maps: int
) -> Tensor:
    """Gradient of the weight, [N, C, I, J] and [N, C, H, W] to [N, maps, T, I, J]."""
    out_h, out_w = grad_out.shape[2:]
    stride, dilation = _steps(stride, dilation, *value.shape[2:])
    grad = _by_map(_accumulable(grad_out), blocks, maps)
    padded = _accumulable(_pad(value, kernel_size, stride, dilation))
    products = [
        (grad * _by_map(padded[:, :, rows, columns], blocks, maps)).sum(2).flatten(1, 2)
        for _, rows, columns in _taps(kernel_size, stride, dilation, out_h, out_w)
    ]
    grad_weight = torch.stack(products, dim=2).to(value.dtype)
    taps = kernel_size * kernel_size
    return _in_layout_of(value, grad_weight.flatten(1, 2)).unflatten(1, (maps, taps))


def _steps(stride: int, dilation: int, height: int, width: int) -> tuple[int, int]:
    """Stride and dilation of the same result, bounded by the image so that its padding is."""
    if torch.compiler.is_compiling() or not isinstance(height, int):  # the program shall serve other sizes
        return stride, dilation
    size = max(height, width)
    return min(stride, size), min(dilation, size)


def _taps(kernel_size: int, stride: int, dilation: int, out_h: int, out_w: int) -> Iterator[tuple[int, slice, slice]]:
    """Each tap with the rows and columns of the padded value that it reads."""
    for tap in range(kernel_size * kernel_size):
        top, left = dilation * (tap // kernel_size), dilation * (tap % kernel_size)
        rows = slice(top, top + stride * (out_h - 1) + 1, stride)
        columns = slice(left, left + stride * (out_w - 1) + 1, stride)
        yield tap, rows, columns


def _pad(value: Tensor, kernel_size: int, stride: int, dilation: int) -> Tensor:
    pad = dilation * (kernel_size // 2)
    # A strided slice then never spans all rows, which at some sizes alone would bind an exported program to those.
    beyond = stride if stride > 1 else 0
    return F.pad(value, [pad, pad + beyond, pad, pad + beyond])


def _accumulable(x: Tensor) -> Tensor:
    """16-bit floats accumulate in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _by_map(x: Tensor, blocks: int, maps: int) -> Tensor:
    """[N, C, I, J] to [N, B, S, G / B, I, J]."""
    channels = x.shape[1]
    return x.unflatten(1, (blocks, channels // maps, maps // blocks))


def _over_channels(weight: Tensor, blocks: int) -> Tensor:
    """[N, G, I, J] to [N, B, 1, G / B, I, J]."""
    return weight.unflatten(1, (blocks, 1, weight.shape[1] // blocks))


def _in_layout_of(like: Tensor, x: Tensor) -> Tensor:
    if torch._C._are_functorch_transforms_active():  # vmap knows no channels_last
        return x.contiguous()
    channels_last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
