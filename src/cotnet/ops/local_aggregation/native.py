"""The native CPU implementation: arguments checked here, then handed to the shared library by address.

Legend: N batch, C channels, G weight maps, T taps = k * k, H x W input size, I x J output size.
"""

import logging
import math
import struct
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.local_aggregation import contract, reference

# `Problem` of native/problem.h.
_PACK = struct.Struct("26q").pack
_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}


def unavailable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this implementation cannot serve such tensors, or None where it can."""
    if device.type != "cpu":
        return f"expected tensors on the cpu, got {device.type}"
    if dtype not in _DTYPES:
        return f"expected a dtype of float32, float64, bfloat16 or float16, got {dtype}"
    library = native_library.load()
    return library if isinstance(library, str) else None


def aggregate(value: Tensor, weight: Tensor, kernel_size: int, stride: int, dilation: int, blocks: int) -> Tensor:
    """Local aggregation, [N, C, H, W] and [N, G, T, I, J] to [N, C, I, J]."""
    contract.check(value, weight, kernel_size, stride, dilation, blocks)
    _check_extent(value.shape)
    _check_extent(weight.shape)
    library = _library(value)
    if library is None:
        return reference.aggregate(value, weight, kernel_size, stride, dilation, blocks)
    out = contract.empty_map(value, (*value.shape[:2], *weight.shape[3:]))
    problem = _problem(value, out, weight, kernel_size, stride, dilation, blocks)
    _run(library.aggregate, problem, value, weight, out)
    return out


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
    _check_grad(grad_out, height, width, kernel_size, stride)
    _check_extent((*grad_out.shape[:2], height, width))
    _check_extent(weight.shape)
    like = grad_out.new_empty(1).expand(*grad_out.shape[:2], height, width)
    contract.check(like, weight, kernel_size, stride, dilation, blocks)
    library = _library(grad_out)
    if library is None:
        return reference.aggregate_grad_value(grad_out, weight, kernel_size, stride, dilation, blocks, height, width)
    grad_value = contract.empty_map(grad_out, (*grad_out.shape[:2], height, width))
    problem = _problem(grad_value, grad_out, weight, kernel_size, stride, dilation, blocks)
    _run(library.grad_value, problem, grad_out, weight, grad_value)
    return grad_value


def aggregate_grad_weight(
    grad_out: Tensor, value: Tensor, kernel_size: int, stride: int, dilation: int, blocks: int, maps: int
) -> Tensor:
    """Gradient of the weight, [N, C, I, J] and [N, C, H, W] to [N, maps, T, I, J]."""
    if value.ndim != 4:
        raise ValueError(f"expected value [N, C, H, W], got {list(value.shape)}")
    _check_grad(grad_out, value.shape[2], value.shape[3], kernel_size, stride)
    if grad_out.shape[:2] != value.shape[:2]:
        raise ValueError(
            f"expected grad_out and value of one batch and channels, got {list(grad_out.shape)} and {list(value.shape)}"
        )
    if grad_out.dtype != value.dtype or grad_out.device != value.device:
        raise TypeError(
            f"expected grad_out and value of one dtype and device, got {grad_out.dtype} on {grad_out.device} "
            f"and {value.dtype} on {value.device}"
        )
    shape = (value.shape[0], maps, kernel_size * kernel_size, *grad_out.shape[2:])
    _check_extent(value.shape)
    _check_extent(shape)
    contract.check(value, value.new_empty(1).expand(shape), kernel_size, stride, dilation, blocks)
    library = _library(value)
    if library is None:
        return reference.aggregate_grad_weight(grad_out, value, kernel_size, stride, dilation, blocks, maps)
    grad_weight = contract.empty_weight(value, shape)
    problem = _problem(value, grad_out, grad_weight, kernel_size, stride, dilation, blocks)
    _run(library.grad_weight, problem, grad_out, value, grad_weight)
    return grad_weight


def _check_grad(grad_out: Tensor, height: int, width: int, kernel_size: int, stride: int) -> None:
    if kernel_size < 1 or stride < 1 or height < 1 or width < 1:
        raise ValueError(f"expected sizes of at least 1, got {kernel_size=}, {stride=}, {height=}, {width=}")
    size = (contract.output_size(height, stride), contract.output_size(width, stride))
    if grad_out.ndim != 4 or tuple(grad_out.shape[2:]) != size:
        raise ValueError(
            f"expected grad_out [N, C, {size[0]}, {size[1]}] for {height=}, {width=}, {stride=}, "
            f"got {list(grad_out.shape)}"
        )


def _check_extent(shape: Sequence[int]) -> None:
    """Products of sizes that pass stay within 64 bits in the kernels, and in torch."""
    if math.prod(max(size, 1) for size in shape) >= 2**57:
        raise ValueError(f"expected fewer than 2**57 elements, got a tensor of {list(shape)}")


def _problem(
    value: Tensor, out: Tensor, weight: Tensor, kernel_size: int, stride: int, dilation: int, blocks: int
) -> bytes:
    """The map on the input side, the one on the output side, the weight: each the argument or its gradient."""
    batch, channels, height, width = value.shape
    # Beyond the picture's size neither step changes the result; bounded, no product of them overflows.
    size = max(height, width)
    return _PACK(
        _DTYPES[value.dtype],
        torch.get_num_threads(),
        kernel_size,
        min(stride, size),
        min(dilation, size),
        blocks,
        batch,
        channels,
        weight.shape[1],
        height,
        width,
        *out.shape[2:],
        *value.stride(),
        *out.stride(),
        *weight.stride(),
    )


def _library(x: Tensor) -> native_library.NativeLibrary | None:
    """None where plain PyTorch serves instead."""
    library = native_library.load()
    if isinstance(library, str):
        _notice(library)
        return None
    # torch has float types that the kernels lack, such as those of 8 bits.
    return library if x.dtype in _DTYPES else None


@cache
def _notice(reason: str) -> None:
    logging.getLogger("cotnet").warning("local aggregation runs in plain PyTorch on the CPU: %s", reason)


def _run(kernel: native_library.Kernel, problem: bytes, first: Tensor, second: Tensor, output: Tensor) -> None:
    if output.numel() == 0:
        return
    status = kernel(problem, first.data_ptr(), second.data_ptr(), output.data_ptr())
    if status == native_library.STATUS_OUT_OF_MEMORY:
        raise MemoryError(f"no memory for the scratch of a local aggregation of {list(first.shape)}")
    assert status == 0, status
