"""The reference implementation of the CoT layer with bytes for maps: plain PyTorch, any device, traceable."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cotnet.ops.fused_cot import ContextParameters
from cotnet.ops.fused_cot import reference as float_reference
from cotnet.ops.int8_conv import ConvGeometry, Requantization
from cotnet.ops.int8_conv import reference as conv_reference
from cotnet.ops.int8_cot.contract import CoTScales, IntegerConv, static_geometry
from cotnet.ops.int8_panels import requantize, unpack_bytes
from cotnet.ops.local_aggregation.contract import Geometry


def maps(
    x: Tensor,
    convolutions: tuple[IntegerConv, IntegerConv, IntegerConv, IntegerConv],
    in_zero: int,
    geometry: Geometry,
    static_groups: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The static context, uint8 [N, C, H, W], the attention, float32 [N, T * G, H, W], and the value, of x's size."""
    static, reduce, expand, value = convolutions
    static_context = conv_reference.conv(
        x, *static, None, static_geometry(geometry, static_groups), Requantization(in_zero)
    )
    groups, channels = geometry.groups, x.shape[1]
    both = torch.cat([t.unflatten(1, (groups, -1)) for t in (x, static_context)], 2).flatten(1, 2)
    weight = unpack_bytes(reduce.weight, len(reduce.bias), 2, channels // groups, groups).flatten(1)
    sums = F.conv2d(both.double(), weight.double()[..., None, None], reduce.bias.double(), groups=groups)
    hidden = requantize(sums.float() * reduce.multiplier[:, None, None], 0, 0)
    pointwise = ConvGeometry((1, 1), groups=groups)
    attention = conv_reference.conv_to_float(hidden, *expand, pointwise, 0)
    return static_context, attention, conv_reference.conv_to_float(x, *value, pointwise, in_zero)


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
    static_context, attention, value = maps(x, convolutions, scales.in_zero, geometry, static_groups)
    y = float_reference.context(
        attention, value, static_context.float() * scales.static_scale, parameters, eps, geometry
    )
    return requantize(y * scales.out_multiplier, scales.out_zero, 0).contiguous(memory_format=torch.channels_last)
