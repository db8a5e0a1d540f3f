"""The native CPU implementation of the convolution in integers."""

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.int8_conv import reference
from cotnet.ops.int8_conv.contract import ConvGeometry, Requantization, check

_PACK = native_library.PROBLEMS["Int8ConvProblem"].pack


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    skip: Tensor | None,
    geometry: ConvGeometry,
    requantization: Requantization,
) -> Tensor:
    """uint8 [N, C, H, W] to uint8 [N, C_out, I, J]."""
    shape = check(x, weight, bias, multiplier, skip, geometry)
    library = native_library.load()
    if isinstance(library, str):
        return reference.conv(x, weight, bias, multiplier, skip, geometry, requantization)
    return _run(library, shape, torch.uint8, x, weight, bias, multiplier, skip, geometry, requantization)


def conv_to_float(
    x: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, geometry: ConvGeometry, in_zero: int
) -> Tensor:
    """uint8 [N, C, H, W] to float32 [N, C_out, I, J]."""
    shape = check(x, weight, bias, multiplier, None, geometry)
    library = native_library.load()
    if isinstance(library, str):
        return reference.conv_to_float(x, weight, bias, multiplier, geometry, in_zero)
    requantization = Requantization(in_zero)
    return _run(library, shape, torch.float32, x, weight, bias, multiplier, None, geometry, requantization)


def _run(
    library: native_library.NativeLibrary,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    skip: Tensor | None,
    geometry: ConvGeometry,
    requantization: Requantization,
) -> Tensor:
    out = torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
    if out.numel() == 0:
        return out
    x, weight, bias, multiplier = dense(x), weight.contiguous(), bias.contiguous(), multiplier.contiguous()
    skip = None if skip is None else dense(skip)
    kernel_size, stride, padding, dilation, groups = geometry
    in_zero, zero, lowest, skip_multiplier, skip_zero = requantization
    address = out.data_ptr()
    outputs = (address, 0) if dtype == torch.uint8 else (0, address)
    problem = _PACK(
        torch.get_num_threads(),
        x.shape[0],
        x.shape[1],
        shape[1],
        groups,
        x.shape[2],
        x.shape[3],
        shape[2],
        shape[3],
        *kernel_size,
        *stride,
        *padding,
        *dilation,
        in_zero,
        zero,
        lowest,
        skip_zero,
        skip_multiplier,
        x.data_ptr(),
        weight.data_ptr(),
        bias.data_ptr(),
        multiplier.data_ptr(),
        0 if skip is None else skip.data_ptr(),
        *outputs,
    )
    native_library.run(library.int8_conv, problem, what="a convolution", shape=x.shape)
    return out


def dense(x: Tensor) -> Tensor:
    """[N, C, H, W] with its channels side by side and nothing between pixels."""
    return x.contiguous(memory_format=torch.channels_last)
