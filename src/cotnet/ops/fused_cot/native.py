"""The native CPU implementation of the fused CoT layer: arguments checked here, then handed over by address."""

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.fused_cot import reference
from cotnet.ops.fused_cot.contract import ContextParameters, Projections, StaticConv
from cotnet.ops.library import empty_output
from cotnet.ops.local_aggregation.contract import Geometry

_PACK = native_library.PROBLEMS["FusedCotProblem"].pack
_DTYPES = {torch.float32: 0, torch.bfloat16: 2, torch.float16: 3}
_NO_PROJECTIONS = (None,) * 6


def unavailable(x: Tensor) -> str | None:
    """Why the kernel cannot make the attention and the value of such a map itself, or None where it can.

    Whether there is a library is left to the op: a compiler that traces this question could not follow it there.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return f"expected float32 on the cpu, got {x.dtype} on {x.device.type}"
    return None


def context(
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    parameters: ContextParameters,
    eps: float,
    geometry: Geometry,
) -> Tensor:
    """The layer's output, [N, C, H, W], from its attention, value and static context."""
    library = _library(value)
    if library is None:
        return reference.context(attention, value, static_context, parameters, eps, geometry)
    maps = (None, _dense(static_context), _dense(attention), _dense(value))
    return _run(library, value, maps, None, parameters, None, eps, geometry)


def cot(
    x: Tensor,
    static: Tensor | StaticConv,
    projections: Projections,
    parameters: ContextParameters,
    eps: float,
    geometry: Geometry,
) -> Tensor:
    """The layer's output, [N, C, H, W], from its input, and its static context or the convolution of that."""
    library = _library(x)
    if library is None or unavailable(x) is not None:
        static_context = reference.static_context(x, static)
        attention, value = reference.project(x, static_context, projections, geometry.groups)
        return context(attention, value, static_context, parameters, eps, geometry)
    conv = static if isinstance(static, StaticConv) else None
    maps = (_dense(x), _dense(static) if isinstance(static, Tensor) else None, None, None)
    return _run(library, x, maps, conv, parameters, projections, eps, geometry)


def _run(
    library: native_library.NativeLibrary,
    like: Tensor,
    maps: tuple[Tensor | None, ...],  # x, static context, attention, value
    static: StaticConv | None,
    tail: ContextParameters,
    convolutions: Projections | None,
    eps: float,
    geometry: Geometry,
) -> Tensor:
    out = empty_output(like)
    if out.numel() == 0:
        return out
    batch, channels, height, width = like.shape
    kernel_size, _, dilation, groups = geometry.bounded(height, width)
    tail = ContextParameters(*(p.contiguous() for p in tail.tensors()))
    convolutions = convolutions and Projections(*(p.contiguous() for p in convolutions))
    made = (static.transformed.contiguous(), static.bias.contiguous()) if static else (None, None)
    problem = _PACK(
        _DTYPES[like.dtype],
        torch.get_num_threads(),
        kernel_size,
        dilation,
        groups,
        batch,
        channels,
        len(tail.norm_weight) // geometry.taps,
        height,
        width,
        len(convolutions.reduce_bias) if convolutions else 0,
        len(tail.squeeze_bias),
        static.groups if static else 0,
        eps,
        *(0 if t is None else t.data_ptr() for t in (*maps, out, *tail, *(convolutions or _NO_PROJECTIONS), *made)),
    )
    native_library.run(library.fused_cot, problem, what="a fused CoT layer", shape=like.shape)
    return out


def _dense(x: Tensor) -> Tensor:
    """[N, C, H, W] with its channels side by side and nothing between pixels."""
    return x.contiguous(memory_format=torch.channels_last)


def _library(x: Tensor) -> native_library.NativeLibrary | None:
    """None where plain PyTorch serves instead."""
    library = native_library.load()
    return library if not isinstance(library, str) and x.dtype in _DTYPES else None
