"""The Triton implementation of the fused CoT layer, which launches the kernels of ``triton_kernels``.

Legend: N batch, C channels, G heads, H x W size, B groups; an image's pixels are divided into parts.
"""

from collections.abc import Callable
from functools import cache, partial
from types import ModuleType

import torch
from torch import Tensor

from cotnet.ops.fused_cot import reference
from cotnet.ops.fused_cot.contract import ContextParameters, Projections, StaticConv
from cotnet.ops.library import empty_output
from cotnet.ops.local_aggregation import triton as aggregation
from cotnet.ops.local_aggregation.contract import Geometry

_MOST_PARTS = 128  # of an image; what they leave is added up by one program
_PIXELS_OF_PART = 16  # at the least


@cache
def load() -> ModuleType:
    """The module of the kernels, which imports Triton."""
    from cotnet.ops.fused_cot import triton_kernels

    return triton_kernels


def cot(
    x: Tensor,
    static: Tensor | StaticConv,
    projections: Projections,
    parameters: ContextParameters,
    eps: float,
    geometry: Geometry,
) -> Tensor:
    """The layer's output, [N, C, H, W], from its input, and its static context or the convolution of that.

    The projections are left to torch's convolutions.
    """
    static_context = reference.static_context(x, static)
    attention, value = reference.project(x, static_context, projections, geometry.groups)
    return context(attention, value, static_context, parameters, eps, geometry)


def context(
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    parameters: ContextParameters,
    eps: float,
    geometry: Geometry,
) -> Tensor:
    """The layer's output, [N, C, H, W], from its attention, value and static context."""
    if not aggregation.serves(value):
        return reference.context(attention, value, static_context, parameters, eps, geometry)
    out = empty_output(value)
    if out.numel() > 0:
        dense_map = partial(Tensor.contiguous, memory_format=torch.channels_last)
        attention, value, static_context = map(dense_map, (attention, value, static_context))
        dense = ContextParameters(*(parameter.contiguous() for parameter in parameters.tensors()))
        with torch.cuda.device_of(value):
            _launch(out, attention, value, static_context, dense, eps, geometry)
    return out


def _launch(
    out: Tensor,
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    tail: ContextParameters,
    eps: float,
    geometry: Geometry,
) -> None:
    """Fill ``out``; all maps are channels_last and dense."""
    kernels = load()
    tl = kernels.tl
    batch, channels, height, width = value.shape
    kernel_size, _, dilation, groups = geometry.bounded(height, width)
    pixels, heads, squeezed = height * width, attention.shape[1] // geometry.taps, len(tail.squeeze_bias)
    heads_of_group, sharing = heads // groups, channels // heads
    parts = min(_MOST_PARTS, -(-pixels // _PIXELS_OF_PART))
    wide = value.dtype == torch.float64
    sum_type, dtype = (tl.float64, torch.float64) if wide else (tl.float32, torch.float32)
    farthest = batch * (pixels + kernel_size * width) * max(attention.shape[1], channels)
    index = tl.int64 if farthest >= aggregation.FITS_32_BITS else tl.int32
    block_parts, block_sharing = aggregation.power_of_2(parts), min(aggregation.power_of_2(sharing), 8)

    def scratch(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=value.device)

    mean, square = scratch(batch, parts, heads), scratch(batch, parts, heads)
    sums, middle, share = scratch(batch, parts, channels), scratch(batch, squeezed), scratch(batch, channels)

    def grid_of(sharing_blocks: int) -> Callable[[dict[str, int]], tuple[int, int, int]]:
        return lambda tile: (batch * parts, -(-heads // tile["BLOCK_HEADS"]), sharing_blocks)

    common = {"KERNEL_SIZE": kernel_size, "INDEX": index, "SUM": sum_type}
    kernels.moments[grid_of(1)](
        attention, mean, square, pixels, heads, heads_of_group, parts, **common, BLOCK_SHARING=1
    )
    kernels.contexts[grid_of(-(-sharing // block_sharing))](
        *(attention, value, static_context, out, sums, mean, square),
        *(tail.norm_weight, tail.norm_bias, tail.dynamic_bias),
        *(height, width, dilation, pixels, heads, sharing, heads_of_group, parts),
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
