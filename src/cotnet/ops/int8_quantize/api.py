"""Floats to bytes: one named op for inference, without a gradient, and the way back.

`cotnet::int8_quantize` takes float32 [N, C, H, W] to uint8 of the same shape, channels_last: each value times
`multiplier`, rounded to float32, then to the nearest integer, to the even one of two, plus `zero`, within [0, 255].
"""

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.dispatch import exporting
from cotnet.ops.int8_panels import requantize
from cotnet.ops.library import LIBRARY, TAGS, register_fake

_PACK = native_library.PROBLEMS["Int8QuantizeProblem"].pack

LIBRARY.define("int8_quantize(Tensor x, float multiplier, int zero) -> Tensor", tags=TAGS)
quantize = torch.ops.cotnet.int8_quantize


def check(x: Tensor) -> None:
    """Raise ``ValueError`` or ``TypeError`` unless it is float32 [N, C, H, W]."""
    if x.dtype != torch.float32:
        raise TypeError(f"expected float32, got {x.dtype}")
    if x.ndim != 4:
        raise ValueError(f"expected x [N, C, H, W], got {list(x.shape)}")


def reference(x: Tensor, multiplier: float, zero: int) -> Tensor:
    """float32 [N, C, H, W] to uint8 in plain PyTorch."""
    y = x * torch.tensor(multiplier, dtype=torch.float32, device=x.device)
    return requantize(y, zero, 0).contiguous(memory_format=torch.channels_last)


@register_fake("int8_quantize")
def _(x: Tensor, multiplier: float, zero: int) -> Tensor:
    return torch.empty(x.shape, dtype=torch.uint8, device=x.device, memory_format=torch.channels_last)


def _portable(x: Tensor, multiplier: float, zero: int) -> Tensor:
    check(x)
    return reference(x, multiplier, zero)


def _native(x: Tensor, multiplier: float, zero: int) -> Tensor:
    check(x)
    library = native_library.load()
    if isinstance(library, str):
        return reference(x, multiplier, zero)
    out = torch.empty(x.shape, dtype=torch.uint8, memory_format=torch.channels_last)
    if out.numel() == 0:
        return out
    problem = _PACK(torch.get_num_threads(), *x.shape, *x.stride(), zero, multiplier, x.data_ptr(), out.data_ptr())
    native_library.run(library.int8_quantize, problem, what="quantization", shape=x.shape)
    return out


LIBRARY.impl("int8_quantize", _portable, "CompositeExplicitAutograd")
LIBRARY.impl("int8_quantize", _native, "CPU")


def int8_quantize(x: Tensor, multiplier: float, zero: int) -> Tensor:
    """float32 [N, C, H, W] to uint8, channels_last.

    Args:
        x: The values.
        multiplier: The inverse of the scale.
        zero: Stands for 0.

    Raises:
        ValueError: Another number of dimensions.
        TypeError: Another dtype.
    """
    return reference(x, multiplier, zero) if exporting() else quantize(x, multiplier, zero)


def int8_dequantize(x: Tensor, scale: float, zero: int) -> Tensor:
    """uint8 of any shape to float32."""
    return (x.float() - zero) * scale
