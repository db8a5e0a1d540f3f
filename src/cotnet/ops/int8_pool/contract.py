"""The contract of pooling of bytes: one named op for inference, without a gradient.

`cotnet::int8_pool` takes uint8 [N, C, H, W] to uint8 [N, C, I, J], channels_last, of the same scale and zero. A maximum
leaves the padding out; an average is the sum in integers, as float32 times the float32 inverse of the number of
elements, rounded to the nearest integer, to the even one of two. It counts padding as `in_zero`, or leaves it out.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cotnet.ops.library import LIBRARY, TAGS, register_fake


class PoolGeometry(NamedTuple):
    """Which inputs an output takes.

    Attributes:
        kernel_size: Height and width.
        stride: Down and across.
        padding: Above and below, left and right.
        ceil_mode: Whether windows may reach beyond the padding.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    ceil_mode: bool = False

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output, as torch has them."""
        return self._size(0, height), self._size(1, width)

    def _size(self, dim: int, size: int) -> int:
        kernel, stride, padding = self.kernel_size[dim], self.stride[dim], self.padding[dim]
        steps = (size + 2 * padding - kernel) / stride
        count = (math.ceil(steps) if self.ceil_mode else math.floor(steps)) + 1
        return count - 1 if self.ceil_mode and (count - 1) * stride >= size + padding else count


LIBRARY.define(
    "int8_pool(Tensor x, int[] kernel_size, int[] stride, int[] padding, bool ceil_mode, bool maximum,"
    " bool counts_padding, int in_zero) -> Tensor",
    tags=TAGS,
)
pool = torch.ops.cotnet.int8_pool


def check(x: Tensor, geometry: PoolGeometry) -> tuple[int, int, int, int]:
    """The shape of the output.

    Raises:
        ValueError: Sizes that do not fit.
        TypeError: Another dtype than uint8.
    """
    if x.dtype != torch.uint8:
        raise TypeError(f"expected uint8, got {x.dtype}")
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"expected x [N, C, H, W] of at least one channel and pixel, got {list(x.shape)}")
    kernel, stride, padding, _ = geometry
    if min(*kernel, *stride) < 1 or min(padding) < 0 or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(f"expected a padding of at most half the kernel's size, got {geometry}")
    size = geometry.output_size(x.shape[2], x.shape[3])
    if min(size) < 1:
        raise ValueError(f"expected an image of at least the kernel's size, got {list(x.shape)} for {geometry}")
    return (x.shape[0], x.shape[1], *size)


@register_fake("int8_pool")
def _(x, kernel_size, stride, padding, ceil_mode, maximum, counts_padding, in_zero):
    size = PoolGeometry(kernel_size, stride, padding, ceil_mode).output_size(x.shape[2], x.shape[3])
    return torch.empty((*x.shape[:2], *size), dtype=torch.uint8, device=x.device, memory_format=torch.channels_last)
