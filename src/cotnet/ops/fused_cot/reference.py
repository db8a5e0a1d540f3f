"""The reference implementation of the fused CoT layer: plain PyTorch, any device, traceable.

Legend: N batch, C channels, G heads, T taps = k * k, B groups, H x W size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cotnet.ops.fused_cot.contract import ContextParameters, Projections, StaticConv
from cotnet.ops.local_aggregation import reference
from cotnet.ops.local_aggregation.contract import Geometry
from cotnet.ops.panels import unpack


def static_context(x: Tensor, static: Tensor | StaticConv) -> Tensor:
    """The static context, [N, C, H, W], which may have been computed already."""
    if isinstance(static, Tensor):
        return static
    return F.relu(F.conv2d(x, static.weight, static.bias, padding=1, groups=static.groups))


def hidden(x: Tensor, static_context: Tensor, projections: Projections, groups: int) -> Tensor:
    """Two [N, C, H, W] to the attention's hidden channels, [N, S, H, W]."""
    of_x, of_static = unpack(projections.reduce, len(projections.reduce_bias), groups)[..., None, None].chunk(2, 1)
    y = F.conv2d(x, of_x, projections.reduce_bias, groups=groups)
    return F.relu(y + F.conv2d(static_context, of_static, groups=groups))


def project(x: Tensor, static_context: Tensor, projections: Projections, groups: int) -> tuple[Tensor, Tensor]:
    """Two [N, C, H, W] to the attention before its norm, [N, T * G, H, W], and the value, [N, C, H, W]."""
    inner = hidden(x, static_context, projections, groups)
    expand = unpack(projections.expand, len(projections.expand_bias), groups)[..., None, None]
    value = unpack(projections.value, len(projections.value_bias), groups)[..., None, None]
    return (
        F.conv2d(inner, expand, projections.expand_bias, groups=groups),
        F.conv2d(x, value, projections.value_bias, groups=groups),
    )


def context(
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    parameters: ContextParameters,
    eps: float,
    geometry: Geometry,
) -> Tensor:
    """The layer's output, [N, C, H, W]."""
    taps, groups = geometry.taps, geometry.groups
    heads = attention.shape[1] // taps

    def by_head(x: Tensor, dim: int) -> Tensor:
        """[.., B * T * G / B, ..] to [.., G * T, ..], the order of ``local_aggregation``."""
        return x.unflatten(dim, (groups, taps, heads // groups)).transpose(dim + 1, dim + 2).flatten(dim, dim + 2)

    weight = F.group_norm(
        by_head(attention, 1), heads, by_head(parameters.norm_weight, 0), by_head(parameters.norm_bias, 0), eps
    )
    dynamic = reference.aggregate(value, weight.unflatten(1, (heads, taps)), geometry)
    dynamic = F.silu(dynamic + parameters.dynamic_bias[:, None, None])
    pooled = dynamic.mean((2, 3)) + static_context.mean((2, 3))
    squeezed = F.relu(F.linear(pooled, parameters.squeeze, parameters.squeeze_bias))
    share = torch.sigmoid(F.linear(squeezed, parameters.excite, parameters.excite_bias))
    mixed = torch.lerp(static_context, dynamic, share[:, :, None, None])
    if parameters.out_scale is not None and parameters.out_bias is not None:
        mixed = mixed * parameters.out_scale[:, None, None] + parameters.out_bias[:, None, None]
    return mixed.contiguous(memory_format=torch.channels_last)


def cot(
    x: Tensor,
    static: Tensor | StaticConv,
    projections: Projections,
    parameters: ContextParameters,
    eps: float,
    geometry: Geometry,
) -> Tensor:
    """The layer's output, [N, C, H, W], from its input, and its static context or the convolution of that."""
    static_map = static_context(x, static)
    attention, value = project(x, static_map, projections, geometry.groups)
    return context(attention, value, static_map, parameters, eps, geometry)
