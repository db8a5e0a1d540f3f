"""The native CPU implementation: arguments checked here, then handed to the shared library by address.

What a call needs beyond the addresses depends on sizes, strides and types alone. It is worked out and checked once for
each, on meta tensors, since in a small problem the checks would take longer than the kernel.

Legend: N batch, C channels, G heads (weight maps), T taps = k * k, H x W input size, I x J output size.
"""

import logging
from functools import cache, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.library import DTYPES
from cotnet.ops.local_aggregation import contract, reference
from cotnet.ops.local_aggregation.contract import Geometry

_PACK = native_library.PROBLEMS["AggregateProblem"].pack
_DTYPES = {dtype: number for number, dtype in enumerate(DTYPES)}  # as the kernels number them

# Shape, strides, dtype and device of a tensor.
_Kind = tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device]


class _Plan(NamedTuple):
    """The output to make, and the packed `AggregateProblem`."""

    shape: torch.Size
    strides: tuple[int, ...]
    problem: bytes


def unavailable(x: Tensor) -> str | None:
    """Why this implementation cannot serve such tensors, or None where it can."""
    if x.device.type != "cpu":
        return f"expected tensors on the cpu, got {x.device.type}"
    if x.dtype not in _DTYPES:
        return f"expected a dtype of float32, float64, bfloat16 or float16, got {x.dtype}"
    library = native_library.load()
    return library if isinstance(library, str) else None


def aggregate(value: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Local aggregation, [N, C, H, W] and [N, G, T, I, J] to [N, C, I, J]."""
    plan = _plan_aggregate(_kind(value), _kind(weight), geometry, torch.get_num_threads())
    library = _library()
    if library is None:
        return reference.aggregate(value, weight, geometry)
    return _run(library.aggregate, plan, value, weight)


def aggregate_grad_value(grad_out: Tensor, weight: Tensor, geometry: Geometry, height: int, width: int) -> Tensor:
    """Gradient of the value, [N, C, I, J] and [N, G, T, I, J] to [N, C, height, width]."""
    plan = _plan_grad_value(_kind(grad_out), _kind(weight), geometry, height, width, torch.get_num_threads())
    library = _library()
    if library is None:
        return reference.aggregate_grad_value(grad_out, weight, geometry, height, width)
    return _run(library.grad_value, plan, grad_out, weight)


def aggregate_grad_weight(grad_out: Tensor, value: Tensor, geometry: Geometry, heads: int) -> Tensor:
    """Gradient of the weight, [N, C, I, J] and [N, C, H, W] to [N, heads, T, I, J]."""
    plan = _plan_grad_weight(_kind(grad_out), _kind(value), geometry, heads, torch.get_num_threads())
    library = _library()
    if library is None:
        return reference.aggregate_grad_weight(grad_out, value, geometry, heads)
    return _run(library.grad_weight, plan, grad_out, value)


def _kind(x: Tensor) -> _Kind:
    return x.shape, x.stride(), x.dtype, x.device


@lru_cache(maxsize=512)
def _plan_aggregate(value_kind: _Kind, weight_kind: _Kind, geometry: Geometry, threads: int) -> _Plan:
    value, weight = _metas(value=value_kind, weight=weight_kind)
    contract.check_aggregate(value, weight, geometry)
    out = contract.empty_map(value, (*value.shape[:2], *weight.shape[3:]))
    return _plan(out, value, out, weight, geometry, threads)


@lru_cache(maxsize=512)
def _plan_grad_value(
    grad_kind: _Kind, weight_kind: _Kind, geometry: Geometry, height: int, width: int, threads: int
) -> _Plan:
    grad_out, weight = _metas(grad_out=grad_kind, weight=weight_kind)
    contract.check_grad_value(grad_out, weight, geometry, height, width)
    grad_value = contract.empty_map(grad_out, (*grad_out.shape[:2], height, width))
    return _plan(grad_value, grad_value, grad_out, weight, geometry, threads)


@lru_cache(maxsize=512)
def _plan_grad_weight(grad_kind: _Kind, value_kind: _Kind, geometry: Geometry, heads: int, threads: int) -> _Plan:
    grad_out, value = _metas(grad_out=grad_kind, value=value_kind)
    contract.check_grad_weight(grad_out, value, geometry, heads)
    shape = (value.shape[0], heads, geometry.taps, *grad_out.shape[2:])
    grad_weight = contract.empty_weight(value, shape)
    return _plan(grad_weight, value, grad_out, grad_weight, geometry, threads)


def _metas(**kinds: _Kind) -> list[Tensor]:
    """A tensor without data for each kind; all must be of one device."""
    devices = {str(device) for *_, device in kinds.values()}
    if len(devices) > 1:
        raise ValueError(f"expected {' and '.join(kinds)} on one device, got {' and '.join(devices)}")
    return [torch.empty_strided(*sizes, dtype=dtype, device="meta") for *sizes, dtype, _ in kinds.values()]


def _plan(output: Tensor, value: Tensor, out: Tensor, weight: Tensor, geometry: Geometry, threads: int) -> _Plan:
    """Besides `output`: the map on the input side, the one on the output side, the weight; one of them is `output`."""
    batch, channels, height, width = value.shape
    problem = _PACK(
        _DTYPES[value.dtype],
        threads,
        *geometry.bounded(height, width),
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
    return _Plan(output.shape, output.stride(), problem)


def _library() -> native_library.NativeLibrary | None:
    """None where plain PyTorch serves instead."""
    library = native_library.load()
    if isinstance(library, str):
        _notice(library)
        return None
    return library


@cache
def _notice(reason: str) -> None:
    logging.getLogger("cotnet").warning("local aggregation runs in plain PyTorch on the CPU: %s", reason)


def _run(kernel: native_library.Kernel, plan: _Plan, first: Tensor, second: Tensor) -> Tensor:
    output = torch.empty_strided(plan.shape, plan.strides, dtype=first.dtype)
    if output.numel() == 0:
        return output
    addresses = (first.data_ptr(), second.data_ptr(), output.data_ptr())
    native_library.run(kernel, plan.problem, *addresses, what="a local aggregation", shape=first.shape)
    return output
