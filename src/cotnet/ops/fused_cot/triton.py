"""The Triton implementation of the fused CoT layer: arguments checked here, then handed to `triton_kernels`."""

from collections.abc import Callable
from functools import cache, partial
from types import ModuleType

import torch
from torch import Tensor

from cotnet.ops.fused_cot import contract, reference
from cotnet.ops.fused_cot.contract import ContextParameters, Projections
from cotnet.ops.local_aggregation import triton as aggregation
from cotnet.ops.panels import empty_output

_MOST_PARTS = 128  # of an image; what they leave is added up by one program
_PIXELS_OF_PART = 16  # at the least


@cache
def load() -> ModuleType:
    """The module of the kernels, which imports Triton."""
    from cotnet.ops.fused_cot import triton_kernels

    return triton_kernels


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
    """The layer's output, [N, C, H, W], from its input, and its static context or the convolution of that.

    The projections are convolutions of their own.
    """
    static = contract.static_of(static_context, static_groups)
    tail, convolutions = ContextParameters(*parameters), Projections(*projections)
    contract.check_cot(x, static, convolutions, tail, kernel_size, dilation, groups)
    still = reference.static_context(x, static)
    attention, value = reference.project(x, still, convolutions, groups)
    return context(attention, value, still, parameters, eps, kernel_size, dilation, groups)


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
    if not aggregation.serves(value):
        return reference.context(attention, value, static_context, tail, eps, kernel_size, dilation, groups)
    out = empty_output(value)
    if out.numel() > 0:
        dense_map = partial(Tensor.contiguous, memory_format=torch.channels_last)
        attention, value, static_context = map(dense_map, (attention, value, static_context))
        dense = ContextParameters(*(parameter.contiguous() for parameter in tail.tensors()))
        with torch.cuda.device_of(value):
            _launch(out, attention, value, static_context, dense, eps, kernel_size, dilation, groups)
    return out


def _launch(
    out: Tensor,
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    tail: ContextParameters,
    eps: float,
    kernel_size: int,
    dilation: int,
    groups: int,
) -> None:
    """Fill `out`; all maps are channels_last and dense."""
    kernels = load()
    tl = kernels.tl
    batch, channels, height, width = value.shape
    pixels, maps, squeezed = height * width, attention.shape[1] // kernel_size**2, len(tail.squeeze_bias)
    run, sharing = maps // groups, channels // maps
    parts = min(_MOST_PARTS, -(-pixels // _PIXELS_OF_PART))
    wide = value.dtype == torch.float64
    sum_type, dtype = (tl.float64, torch.float64) if wide else (tl.float32, torch.float32)
    farthest = batch * (pixels + kernel_size * width) * max(attention.shape[1], channels)
    index = tl.int64 if farthest >= aggregation.FITS_32_BITS else tl.int32
    block_parts, block_sharing = aggregation.power_of_2(parts), min(aggregation.power_of_2(sharing), 8)

    def scratch(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=value.device)

    mean, square = scratch(batch, parts, maps), scratch(batch, parts, maps)
    sums, middle, share = scratch(batch, parts, channels), scratch(batch, squeezed), scratch(batch, channels)

    def grid_of(sharing_blocks: int) -> Callable[[dict[str, int]], tuple[int, int, int]]:
        return lambda tile: (batch * parts, -(-maps // tile["BLOCK_MAPS"]), sharing_blocks)

    common = {"KERNEL_SIZE": kernel_size, "INDEX": index, "SUM": sum_type}
    kernels.moments[grid_of(1)](attention, mean, square, pixels, maps, run, parts, **common, BLOCK_SHARING=1)
    kernels.contexts[grid_of(-(-sharing // block_sharing))](
        *(attention, value, static_context, out, sums, mean, square),
        *(tail.norm_weight, tail.norm_bias, tail.dynamic_bias),
        *(height, width, min(dilation, max(height, width)), pixels, maps, sharing, run, parts),
        **common,
        EPS=eps,
        BLOCK_PARTS=block_parts,
        BLOCK_SHARING=block_sharing,
    )
    blocks = {"SUM": sum_type, "BLOCK_ROWS": 16, "BLOCK_COLUMNS": 64}
    kernels.rows_times[batch, -(-squeezed // 16)](
        *(tail.squeeze, tail.squeeze_bias, sums, middle, squeezed, channels, parts, pixels),
        **blocks,
        SIGMOID=False,
        BLOCK_PARTS=block_parts,
    )
    kernels.rows_times[batch, -(-channels // 16)](
        *(tail.excite, tail.excite_bias, middle, share, channels, squeezed, 1, 1),
        **blocks,
        SIGMOID=True,
        BLOCK_PARTS=1,
    )
    block_channels = min(aggregation.power_of_2(channels), 64)
    block_pixels = 2048 // block_channels
    kernels.mix[-(-batch * pixels // block_pixels), -(-channels // block_channels)](
        *(out, static_context, share, tail.out_scale, tail.out_bias, batch * pixels, pixels, channels),
        NORM=tail.out_scale is not None,
        INDEX=index,
        SUM=sum_type,
        BLOCK_PIXELS=block_pixels,
        BLOCK_CHANNELS=block_channels,
    )
