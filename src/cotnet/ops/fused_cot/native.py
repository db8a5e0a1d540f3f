"""The native CPU implementation of the fused CoT layer: arguments checked here, then handed over by address."""

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.fused_cot import contract, reference
from cotnet.ops.fused_cot.contract import ContextParameters, Projections, StaticConv
from cotnet.ops.panels import empty_output

_PACK = native_library.PROBLEMS["FusedCotProblem"].pack
_DTYPES = {torch.float32: 0, torch.bfloat16: 2, torch.float16: 3}
_NO_PROJECTIONS = (None,) * 6


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
    maps = (None, _dense(static_context), _dense(attention), _dense(value))
    return _run(library, value, maps, None, tail, None, eps, kernel_size, dilation, groups)


def cot(
    x: Tensor,
    static_context: list[Tensor],
    static_groups: int,
    projections: list[Tensor],
    parameters: list[Tensor],
    eps: float,
    kernel_size: int,
    dilation: int,
    groups: int,
) -> Tensor:
    """The layer's output, [N, C, H, W], from its input, and its static context or the convolution of that."""
    static = contract.static_of(static_context, static_groups)
    tail, convolutions = ContextParameters(*parameters), Projections(*projections)
    contract.check_cot(x, static, convolutions, tail, kernel_size, dilation, groups)
    library = _library(x)
    if library is None or not makes_projections(x):
        made = reference.static_context(x, static)
        attention, value = reference.project(x, made, convolutions, groups)
        return context(attention, value, made, parameters, eps, kernel_size, dilation, groups)
    conv = static if isinstance(static, StaticConv) else None
    maps = (_dense(x), _dense(static) if isinstance(static, Tensor) else None, None, None)
    return _run(library, x, maps, conv, tail, convolutions, eps, kernel_size, dilation, groups)


def _run(
    library: native_library.NativeLibrary,
    like: Tensor,
    maps: tuple[Tensor | None, ...],  # x, static context, attention, value
    static: StaticConv | None,
    tail: ContextParameters,
    convolutions: Projections | None,
    eps: float,
    kernel_size: int,
    dilation: int,
    groups: int,
) -> Tensor:
    out = empty_output(like)
    if out.numel() == 0:
        return out
    batch, channels, height, width = like.shape
    tail = ContextParameters(*(p.contiguous() for p in tail.tensors()))
    convolutions = convolutions and Projections(*(p.contiguous() for p in convolutions))
    made = (static.transformed.contiguous(), static.bias.contiguous()) if static else (None, None)
    problem = _PACK(
        _DTYPES[like.dtype],
        torch.get_num_threads(),
        kernel_size,
        min(dilation, max(height, width)),  # beyond the image's size it changes nothing
        groups,
        batch,
        channels,
        len(tail.norm_weight) // kernel_size**2,
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
