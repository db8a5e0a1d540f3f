"""The native CPU implementation of the CoT layer with bytes for maps."""

import torch
from torch import Tensor

from cotnet.ops import native_library
from cotnet.ops.fused_cot import ContextParameters
from cotnet.ops.int8_conv.native import dense
from cotnet.ops.int8_cot import reference
from cotnet.ops.int8_cot.contract import CoTScales, IntegerConv
from cotnet.ops.library import empty_output
from cotnet.ops.local_aggregation.contract import Geometry

_PACK = native_library.PROBLEMS["Int8CotProblem"].pack


def cot(
    x: Tensor,
    convolutions: tuple[IntegerConv, IntegerConv, IntegerConv, IntegerConv],
    parameters: ContextParameters,
    scales: CoTScales,
    eps: float,
    geometry: Geometry,
    static_groups: int,
) -> Tensor:
    """uint8 [N, C, H, W] to uint8 of the same shape."""
    library = native_library.load()
    if isinstance(library, str):
        return reference.cot(x, convolutions, parameters, scales, eps, geometry, static_groups)
    out = empty_output(x)
    if out.numel() == 0:
        return out
    x = dense(x)
    tensors = [t.contiguous() for conv in convolutions for t in conv]
    tail = [None if t is None else t.contiguous() for t in parameters]
    batch, channels, height, width = x.shape
    kernel_size, _, dilation, groups = geometry.bounded(height, width)
    problem = _PACK(
        torch.get_num_threads(),
        kernel_size,
        dilation,
        groups,
        static_groups,
        batch,
        channels,
        len(parameters.norm_weight) // geometry.taps,
        height,
        width,
        len(convolutions[1].bias),
        len(parameters.squeeze_bias),
        scales.in_zero,
        scales.out_zero,
        eps,
        scales.static_scale,
        scales.out_multiplier,
        *(0 if t is None else t.data_ptr() for t in (x, out, *tensors, *tail)),
    )
    native_library.run(library.int8_cot, problem, what="a CoT layer", shape=x.shape)
    return out
