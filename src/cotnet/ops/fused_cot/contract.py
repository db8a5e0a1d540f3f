"""The contract of the fused CoT layer: two named ops for inference, without gradients.

Legend: N batch, C channels, G heads, T taps = k * k, B independent groups (1: CoT, 2: CoXt), H x W size, S channels
between the two convolutions of the attention, F between those of the fusion.

| op | from | to |
|---|---|---|
| ``cotnet::fused_context`` | attention before its norm, value, static context | the layer's output, [N, C, H, W] |
| ``cotnet::fused_cot`` | input, and static context or its convolution | the same; attention and value are made inside |

The attention's channels lie as [B][T][G / B], so that vectors run over the heads of a tap. BatchNorms are folded; that
of the dynamic context goes into the value's convolution, except for a bias. Outputs are channels_last.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cotnet.ops import winograd_conv
from cotnet.ops.library import LIBRARY, TAGS, empty_output, register_fake
from cotnet.ops.local_aggregation.contract import Geometry
from cotnet.ops.panels import PANEL


class ContextParameters(NamedTuple):
    """The parameters of all that follows the attention and the value.

    Attributes:
        norm_weight: [T * G], of the attention's GroupNorm, ordered as the attention is.
        norm_bias: [T * G].
        dynamic_bias: [C], added to the dynamic context before SiLU.
        squeeze: [F, C], the first convolution of the fusion.
        squeeze_bias: [F].
        excite: [C, F], the second one: the logits of the dynamic context minus those of the static one.
        excite_bias: [C].
        out_scale: [C], of the BatchNorm behind the layer, or None without one.
        out_bias: [C], the same.
    """

    norm_weight: Tensor
    norm_bias: Tensor
    dynamic_bias: Tensor
    squeeze: Tensor
    squeeze_bias: Tensor
    excite: Tensor
    excite_bias: Tensor
    out_scale: Tensor | None = None
    out_bias: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Those that are not None, as the ops take them."""
        return [parameter for parameter in self if parameter is not None]


class StaticConv(NamedTuple):
    """The static context that is yet to be made from the input: a ``winograd_conv`` with ReLU.

    Attributes:
        weight: [C, C / groups, 3, 3].
        transformed: The weight as ``winograd_conv.transform`` returns it.
        bias: [C].
        groups: Number of groups of the convolution.
    """

    weight: Tensor
    transformed: Tensor
    bias: Tensor
    groups: int


class Projections(NamedTuple):
    """The 1x1 convolutions, as panels.

    Attributes:
        reduce: [B * panels, 2 C / B, PANEL], input and static context to the attention's hidden channels.
        reduce_bias: [S].
        expand: [B * panels, S / B, PANEL], to the attention.
        expand_bias: [T * G].
        value: [B * panels, C / B, PANEL], input to value.
        value_bias: [C].
    """

    reduce: Tensor
    reduce_bias: Tensor
    expand: Tensor
    expand_bias: Tensor
    value: Tensor
    value_bias: Tensor


LIBRARY.define(
    "fused_context(Tensor attention, Tensor value, Tensor static_context, Tensor[] parameters, float eps,"
    " int kernel_size, int dilation, int groups) -> Tensor",
    tags=TAGS,
)
LIBRARY.define(
    # The static context, or the tensors of a `StaticConv` and its groups.
    "fused_cot(Tensor x, Tensor[] static_context, int static_groups, Tensor[] projections, Tensor[] parameters,"
    " float eps, int kernel_size, int dilation, int groups) -> Tensor",
    tags=TAGS,
)
context = torch.ops.cotnet.fused_context
cot = torch.ops.cotnet.fused_cot


def check_context(
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    parameters: ContextParameters,
    geometry: Geometry,
) -> None:
    """Raise ``ValueError`` or ``TypeError`` that shows what does not fit."""
    _check_maps(value, static_context, geometry)
    weights = parameters.norm_weight.numel()
    expected = (value.shape[0], weights, *value.shape[2:])
    if tuple(attention.shape) != expected:
        raise ValueError(f"expected attention {list(expected)}, got {list(attention.shape)}")
    _check_parameters(value, parameters, geometry)
    _check_types(value, static_context, attention, *parameters.tensors())


def static_arguments(static_context: Tensor | StaticConv) -> tuple[list[Tensor], int]:
    """The tensors and the groups that ``cotnet::fused_cot`` takes for it."""
    if isinstance(static_context, Tensor):
        return [static_context], 0
    return list(static_context[:3]), static_context.groups


def static_of(tensors: list[Tensor], groups: int) -> Tensor | StaticConv:
    """The inverse of ``static_arguments``."""
    if not groups:
        return tensors[0]
    weight, transformed, bias = tensors
    return StaticConv(weight, transformed, bias, groups)


def check_cot(
    x: Tensor,
    static_context: Tensor | StaticConv,
    projections: Projections,
    parameters: ContextParameters,
    geometry: Geometry,
) -> None:
    """Raise ``ValueError`` or ``TypeError`` that shows what does not fit."""
    if isinstance(static_context, Tensor):
        _check_maps(x, static_context, geometry)
        _check_types(x, static_context, *projections, *parameters.tensors())
    else:
        _check_maps(x, x, geometry)
        _check_types(x, *projections, *parameters.tensors())
        winograd_conv.check(x, *static_context)
        if len(static_context.bias) != x.shape[1]:
            raise ValueError(f"expected a static context of {x.shape[1]} channels, got {len(static_context.bias)}")
    _check_parameters(x, parameters, geometry)
    groups, channels, hidden, weights = (
        geometry.groups,
        x.shape[1],
        len(projections.reduce_bias),
        len(parameters.norm_weight),
    )
    sizes = ((2 * channels, hidden), (hidden, weights), (channels, channels))
    if any(size % groups for pair in sizes for size in pair):
        raise ValueError(f"expected sizes divisible by groups, got {channels=}, {hidden=}, {weights=}, {groups=}")
    expected: list[tuple[int, ...]] = []
    for inputs, outputs in sizes:
        expected += [(groups * -(-outputs // groups // PANEL), inputs // groups, PANEL), (outputs,)]
    _check_shapes(projections, expected)


def _check_maps(x: Tensor, static_context: Tensor, geometry: Geometry) -> None:
    if x.ndim != 4 or x.shape != static_context.shape or 0 in x.shape[1:]:
        raise ValueError(f"expected two [N, C, H, W] of one size, got {list(x.shape)} and {list(static_context.shape)}")
    kernel_size, _, dilation, groups = geometry
    if kernel_size < 1 or kernel_size % 2 == 0 or dilation < 1 or groups < 1:
        raise ValueError(
            "expected an odd kernel_size, dilation and groups of at least 1, "
            f"got {kernel_size=}, {dilation=}, {groups=}"
        )


def _check_parameters(x: Tensor, parameters: ContextParameters, geometry: Geometry) -> None:
    channels, weights = x.shape[1], parameters.norm_weight.numel()
    taps, groups = geometry.taps, geometry.groups
    if weights == 0 or weights % (taps * groups) or channels % (weights // taps):
        raise ValueError(f"expected taps * heads weights, got {weights} for {channels=}, {taps=}, {groups=}")
    squeezed = parameters.squeeze_bias.numel()
    vectors, matrices = [(weights,), (weights,), (channels,)], [(squeezed, channels), (squeezed,), (channels, squeezed)]
    if (parameters.out_scale is None) != (parameters.out_bias is None):
        raise ValueError("expected out_scale and out_bias together or neither")
    behind = [] if parameters.out_scale is None else [(channels,), (channels,)]
    _check_shapes(parameters, [*vectors, *matrices, (channels,), *behind])


def _check_shapes(tensors: ContextParameters | Projections, expected: list[tuple[int, ...]]) -> None:
    given = [t for t in tensors if t is not None]
    if [tuple(t.shape) for t in given] == expected:  # at once, for every call pays for it
        return
    for name, shape, tensor in zip(tensors._fields, expected, given, strict=False):
        if tuple(tensor.shape) != shape:
            raise ValueError(f"expected {name} {list(shape)}, got {list(tensor.shape)}")


def _check_types(x: Tensor, *others: Tensor) -> None:
    dtypes, devices = {x.dtype, *(t.dtype for t in others)}, {x.device, *(t.device for t in others)}
    if not x.is_floating_point() or len(dtypes) > 1 or len(devices) > 1:
        raise TypeError(f"expected one float dtype on one device, got {dtypes} on {devices}")


@register_fake("fused_context")
def _(
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    parameters: list[Tensor],
    eps: float,
    kernel_size: int,
    dilation: int,
    groups: int,
) -> Tensor:
    return empty_output(value)


@register_fake("fused_cot")
def _(
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
    return empty_output(x)
