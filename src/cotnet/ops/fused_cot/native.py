"""The native CPU implementation of the fused CoT layer: arguments checked here, then handed over by address."""

import struct

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.fused_cot import contract, reference
from cotnet.ops.fused_cot.contract import ContextParameters, Projections

# `FusedProblem` of native/fused.h.
_PACK = struct.Struct("12q d 20Q").pack
_DTYPES = {torch.float32: 0, torch.bfloat16: 2, torch.float16: 3}
_NO_PROJECTIONS = (0,) * 6


def makes_projections(x: Tensor) -> bool:
    """Whether the kernel can make the attention and the value of such a map itself."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def context(
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    parameters: list[Tensor],
    eps: float,
    kernel_size: int,
    dilation: int,
    groups: int,
) -> Tensor:
    """The layer's output, [N, C, H, W], from its attention, value and static context."""
    tail = ContextParameters(*parameters)
    contract.check_context(attention, value, static_context, tail, kernel_size, dilation, groups)
    library = _library(value)
    if library is None:
        return reference.context(attention, value, static_context, tail, eps, kernel_size, dilation, groups)
    maps = [_dense(x) for x in (attention, value, static_context)]
    return _run(library, value, maps, tail, None, eps, kernel_size, dilation, groups)


def cot(
    x: Tensor,
    static_context: Tensor,
    projections: list[Tensor],
    parameters: list[Tensor],
    eps: float,
    kernel_size: int,
    dilation: int,
    groups: int,
) -> Tensor:
    """The layer's output, [N, C, H, W], from its input and static context."""
    tail, convolutions = ContextParameters(*parameters), Projections(*projections)
    contract.check_cot(x, static_context, convolutions, tail, kernel_size, dilation, groups)
    library = _library(x)
    if library is None or not makes_projections(x):
        attention, value = reference.project(x, static_context, convolutions, groups)
        return context(attention, value, static_context, parameters, eps, kernel_size, dilation, groups)
    maps = [_dense(x), _dense(static_context)]
    return _run(library, x, maps, tail, convolutions, eps, kernel_size, dilation, groups)


def _run(
    library: native_library.NativeLibrary,
    like: Tensor,
    maps: list[Tensor],
    tail: ContextParameters,
    convolutions: Projections | None,
    eps: float,
    kernel_size: int,
    dilation: int,
    groups: int,
) -> Tensor:
    out = contract.empty_output(like)
    if out.numel() == 0:
        return out
    batch, channels, height, width = like.shape
    tail = ContextParameters(*(p.contiguous() for p in tail.tensors()))
    convolutions = convolutions and Projections(*(p.contiguous() for p in convolutions))
    addresses = [x.data_ptr() for x in maps]
    x, attention, value, still = (addresses[0], 0, 0, addresses[1]) if convolutions else (0, *addresses)
    problem = _PACK(
        _DTYPES[like.dtype],
        torch.get_num_threads(),
        kernel_size,
        min(dilation, max(height, width)),  # beyond the picture's size it changes nothing
        groups,
        batch,
        channels,
        len(tail.norm_weight) // kernel_size**2,
        height,
        width,
        len(convolutions.reduce_bias) if convolutions else 0,
        len(tail.squeeze_bias),
        eps,
        x,
        still,
        attention,
        value,
        out.data_ptr(),
        *(p.data_ptr() if p is not None else 0 for p in tail),
        *((p.data_ptr() for p in convolutions) if convolutions else _NO_PROJECTIONS),
    )
    status = library.fused_cot(problem)
    if status == native_library.STATUS_OUT_OF_MEMORY:
        raise MemoryError(f"no memory for the scratch of a fused CoT layer of {list(like.shape)}")
    assert status == 0, status
    return out


def _dense(x: Tensor) -> Tensor:
    """[N, C, H, W] with its channels side by side and nothing between pixels."""
    return x.contiguous(memory_format=torch.channels_last)


def _library(x: Tensor) -> native_library.NativeLibrary | None:
    """None where plain PyTorch serves instead."""
    library = native_library.load()
    return library if not isinstance(library, str) and x.dtype in _DTYPES else None
