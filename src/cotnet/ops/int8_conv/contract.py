"""The contract of the convolution in integers: two named ops for inference, without gradients.

Legend: N batch, C channels in, C_out channels out, B groups, H x W size, I x J output size.

| op | output |
|---|---|
| `cotnet::int8_conv` | uint8 [N, C_out, I, J] |
| `cotnet::int8_conv_to_float` | float32 [N, C_out, I, J] |

An output is `(acc + bias) * multiplier`, its sum `acc` of products of bytes in exact integers, the product rounded to
float32. To it `(skip - skip_zero) * skip_multiplier` is added, itself rounded to float32. Bytes are that value rounded
to the nearest integer, to the even one of two, plus `zero`, within [`lowest`, 255]. The padding is `in_zero`, whose
effect on the sums is in `bias`. So every implementation gives the same bits. Outputs are channels_last.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cotnet.ops.int8_panels import DEEPEST, panel_shape, whole_fours
from cotnet.ops.library import LIBRARY, TAGS, register_fake


class ConvGeometry(NamedTuple):
    """Which inputs a convolution's output takes.

    Attributes:
        kernel_size: Height and width.
        stride: Down and across.
        padding: Above and below, left and right.
        dilation: Down and across.
        groups: Number of groups.
    """

    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def taps(self) -> int:
        """Inputs of an output in each channel."""
        return self.kernel_size[0] * self.kernel_size[1]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output."""
        return self._size(0, height), self._size(1, width)

    def _size(self, dim: int, size: int) -> int:
        span = self.dilation[dim] * (self.kernel_size[dim] - 1) + 1
        return (size + 2 * self.padding[dim] - span) // self.stride[dim] + 1


class Requantization(NamedTuple):
    """How sums of a convolution become bytes.

    Attributes:
        in_zero: Stands for 0 in the input.
        zero: Stands for 0 in the output.
        lowest: Of the output; ``zero`` where ReLU follows.
        skip_multiplier: From the skip's scale to that of the output.
        skip_zero: Stands for 0 in the skip.
    """

    in_zero: int
    zero: int = 0
    lowest: int = 0
    skip_multiplier: float = 0.0
    skip_zero: int = 0


_GEOMETRY = "int[] kernel_size, int[] stride, int[] padding, int[] dilation, int groups"
LIBRARY.define(
    f"int8_conv(Tensor x, Tensor weight, Tensor bias, Tensor multiplier, Tensor? skip, {_GEOMETRY},"
    " int in_zero, int zero, int lowest, float skip_multiplier, int skip_zero) -> Tensor",
    tags=TAGS,
)
LIBRARY.define(
    f"int8_conv_to_float(Tensor x, Tensor weight, Tensor bias, Tensor multiplier, {_GEOMETRY}, int in_zero) -> Tensor",
    tags=TAGS,
)
conv = torch.ops.cotnet.int8_conv
conv_to_float = torch.ops.cotnet.int8_conv_to_float


def check(
    x: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, skip: Tensor | None, geometry: ConvGeometry
) -> tuple[int, int, int, int]:
    """The shape of the output.

    Raises:
        ValueError: Sizes that do not fit.
        TypeError: Other dtypes, or tensors of more than one device.
    """
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"expected x [N, C, H, W] of at least one channel and pixel, got {list(x.shape)}")
    batch, channels, height, width = x.shape
    outputs, groups = bias.shape[0] if bias.ndim else 0, geometry.groups
    options = (*geometry.kernel_size, *geometry.stride, *geometry.dilation, groups)
    if min(options) < 1 or min(geometry.padding) < 0 or channels % groups or outputs % groups:
        raise ValueError(
            f"expected sizes of at least 1 and {channels=}, {outputs=} divisible by groups, got {geometry}"
        )
    panels = panel_shape(outputs, geometry.taps, channels // groups, groups)
    if tuple(weight.shape) != panels or tuple(bias.shape) != tuple(multiplier.shape) or bias.ndim != 1:
        raise ValueError(
            f"expected weight {list(panels)} and multiplier [{outputs}] for {channels=}, {outputs=}, "
            f"got {list(weight.shape)} and {list(multiplier.shape)}"
        )
    if geometry.taps * whole_fours(channels // groups) > DEEPEST:
        raise ValueError(f"expected at most {DEEPEST} inputs of an output, got {geometry.taps * channels // groups}")
    size = geometry.output_size(height, width)
    if min(size) < 1:
        raise ValueError(f"expected an image of at least the kernel's size, got {height=}, {width=} for {geometry}")
    shape = (batch, outputs, *size)
    if skip is not None and tuple(skip.shape) != shape:
        raise ValueError(f"expected skip {list(shape)}, got {list(skip.shape)}")
    _check_types(x, weight, bias, multiplier, skip)
    return shape


def _check_types(x: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, skip: Tensor | None) -> None:
    expected = (torch.uint8, torch.int8, torch.int32, torch.float32, torch.uint8)
    tensors = (x, weight, bias, multiplier, x if skip is None else skip)
    if tuple(t.dtype for t in tensors) != expected or any(t.device != x.device for t in tensors):
        kinds = ", ".join(f"{t.dtype} on {t.device}" for t in tensors)
        raise TypeError(f"expected x, weight, bias, multiplier and skip of {expected} on one device, got {kinds}")


def _empty(x: Tensor, bias: Tensor, geometry: ConvGeometry, dtype: torch.dtype) -> Tensor:
    shape = (x.shape[0], bias.shape[0], *geometry.output_size(x.shape[2], x.shape[3]))
    return torch.empty(shape, dtype=dtype, device=x.device, memory_format=torch.channels_last)


@register_fake("int8_conv")
def _(x, weight, bias, multiplier, skip, kernel_size, stride, padding, dilation, groups, *requantization):
    return _empty(x, bias, ConvGeometry(kernel_size, stride, padding, dilation, groups), torch.uint8)


@register_fake("int8_conv_to_float")
def _(x, weight, bias, multiplier, kernel_size, stride, padding, dilation, groups, in_zero):
    return _empty(x, bias, ConvGeometry(kernel_size, stride, padding, dilation, groups), torch.float32)
