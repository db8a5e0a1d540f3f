"""The contract of the CoT layer with bytes for maps: one named op for inference, without a gradient.

Legend: N batch, C channels, G heads, T taps = k * k, B independent groups (1: CoT, 2: CoXt), S channels between the two
convolutions of the attention, F between those of the fusion, H x W size.

`cotnet::int8_cot` takes uint8 [N, C, H, W] to uint8 of the same shape, channels_last. In integers, with the rounding of
`cotnet::int8_conv`, it makes the static context (bytes, 0 for 0), the attention's hidden channels (likewise), and from
those the attention and the value as float32. What follows is `cotnet::fused_context` in floats, and its result times
`out_multiplier` becomes bytes. Both inputs of the hidden channels share a sum, so their weights carry the inputs'
scales.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cotnet.ops.fused_cot import ContextParameters
from cotnet.ops.int8_conv.contract import ConvGeometry
from cotnet.ops.int8_conv.contract import check as check_conv
from cotnet.ops.int8_panels import panel_shape
from cotnet.ops.library import LIBRARY, TAGS, empty_output, register_fake
from cotnet.ops.local_aggregation.contract import Geometry


class IntegerConv(NamedTuple):
    """A convolution in integers.

    Attributes:
        weight: int8 panels.
        bias: int32, with the effect of the inputs' zeros taken off.
        multiplier: float32, from the scale of the sums to that of the output.
    """

    weight: Tensor
    bias: Tensor
    multiplier: Tensor


class CoTScales(NamedTuple):
    """What the bytes of a layer's maps stand for.

    Attributes:
        in_zero: Stands for 0 in the input.
        static_scale: Of the static context.
        out_multiplier: The inverse of the output's scale.
        out_zero: Stands for 0 in the output.
    """

    in_zero: int
    static_scale: float
    out_multiplier: float
    out_zero: int


LIBRARY.define(
    # `convolutions` has those of the static context, the hidden channels, the attention and the value.
    "int8_cot(Tensor x, Tensor[] convolutions, Tensor[] parameters, int in_zero, float static_scale,"
    " float out_multiplier, int out_zero, float eps, int kernel_size, int dilation, int groups, int static_groups)"
    " -> Tensor",
    tags=TAGS,
)
cot = torch.ops.cotnet.int8_cot


def static_geometry(geometry: Geometry, static_groups: int) -> ConvGeometry:
    """Of the convolution that makes the static context."""
    k, d = geometry.kernel_size, geometry.dilation
    return ConvGeometry((k, k), (1, 1), (k // 2 * d, k // 2 * d), (d, d), static_groups)


def check(
    x: Tensor,
    convolutions: tuple[IntegerConv, IntegerConv, IntegerConv, IntegerConv],
    parameters: ContextParameters,
    geometry: Geometry,
    static_groups: int,
) -> None:
    """Raise ``ValueError`` or ``TypeError`` that shows what does not fit."""
    static, reduce, expand, value = convolutions
    if geometry.kernel_size % 2 == 0 or min(geometry) < 1:
        raise ValueError(f"expected an odd kernel_size, and nothing below 1, got {geometry}")
    check_conv(x, *static, None, static_geometry(geometry, static_groups))
    check_conv(x, *value, None, ConvGeometry((1, 1), groups=geometry.groups))
    channels, hidden, groups = x.shape[1], len(reduce.bias), geometry.groups
    weights, squeezed, taps = len(parameters.norm_weight), len(parameters.squeeze_bias), geometry.taps
    if weights == 0 or weights % (taps * groups) or channels % (weights // taps) or hidden % groups:
        raise ValueError(f"expected taps * heads weights, got {weights} for {channels=}, {hidden=}, {taps=}, {groups=}")
    expected = [
        (reduce.weight, panel_shape(hidden, 2, channels // groups, groups)),
        (expand.weight, panel_shape(weights, 1, hidden // groups, groups)),
        *((t, (size,)) for conv, size in ((reduce, hidden), (expand, weights)) for t in conv[1:]),
        *((conv.bias, (channels,)) for conv in (static, value)),
        *((t, (weights,)) for t in parameters[:2]),
        (parameters.dynamic_bias, (channels,)),
        (parameters.squeeze, (squeezed, channels)),
        (parameters.excite, (channels, squeezed)),
        (parameters.excite_bias, (channels,)),
        *((t, (channels,)) for t in parameters[7:] if t is not None),
    ]
    for tensor, shape in expected:
        if tuple(tensor.shape) != shape:
            raise ValueError(f"expected {list(shape)}, got {list(tensor.shape)}")
    if (parameters.out_scale is None) != (parameters.out_bias is None):
        raise ValueError("expected out_scale and out_bias together or neither")
    dtypes = [t.dtype for conv in (reduce, expand) for t in conv] + [t.dtype for t in parameters.tensors()]
    if dtypes != [torch.int8, torch.int32, torch.float32] * 2 + [torch.float32] * len(parameters.tensors()):
        raise TypeError(f"expected int8 weights, int32 biases and float32 multipliers and parameters, got {dtypes}")


@register_fake("int8_cot")
def _(x, *others):
    return empty_output(x)
