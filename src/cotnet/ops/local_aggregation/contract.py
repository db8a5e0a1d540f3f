"""The contract of local aggregation: schemas, shape rules, gradients and FLOP formulas of its three named ops.

Legend: N batch, C channels, G heads (a head is the weights of one position for all channels that share them),
T taps = k * k, H x W input size, I x J output size.

Contracted with a gradient, the operator is a trilinear form f(grad_out, value, weight). Each op below is its derivative
by one of the three arguments, so every gradient of each op is one of the others and differentiation never leaves them.

| op | computes | shape |
|---|---|---|
| ``cotnet::local_aggregation`` | df / d grad_out | [N, C, I, J] |
| ``cotnet::local_aggregation_grad_value`` | df / d value | [N, C, H, W] |
| ``cotnet::local_aggregation_grad_weight`` | df / d weight | [N, G, T, I, J] |

``groups`` divides channels and heads alike into independent groups: within a group, channel c uses the group's head
c mod (G / groups). One group is CoT's interleaved assignment, G groups are ordinary contiguous heads, CoXt has 2. The
output is channels_last where the [N, C, ...] argument is (value, for the gradient by weight), contiguous elsewhere; a
weight-shaped output is then channels_last over [N, G * T, I, J].
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from cotnet.ops.library import DTYPES, LIBRARY, TAGS, register_fake


class Geometry(NamedTuple):
    """Which cells and which head an output element takes; the schemas of the ops have the same fields, flat.

    Attributes:
        kernel_size: Odd window size k.
        stride: Distance between neighbouring output positions, in cells of the input.
        dilation: Distance between neighbouring cells of a window.
        groups: Number of independent groups of channels and heads.
    """

    kernel_size: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def taps(self) -> int:
        """Cells of a window."""
        return self.kernel_size * self.kernel_size

    def bounded(self, height: int, width: int) -> "Geometry":
        """The same result from a stride and a dilation within the input's size, whose products do not overflow."""
        size = max(height, width)
        return self._replace(stride=min(self.stride, size), dilation=min(self.dilation, size))


LIBRARY.define(
    "local_aggregation(Tensor value, Tensor weight, int kernel_size, int stride, int dilation, SymInt groups)"
    " -> Tensor",
    tags=TAGS,
)
LIBRARY.define(
    "local_aggregation_grad_value(Tensor grad_out, Tensor weight, int kernel_size, int stride, int dilation,"
    " SymInt groups, SymInt height, SymInt width) -> Tensor",
    tags=TAGS,
)
LIBRARY.define(
    "local_aggregation_grad_weight(Tensor grad_out, Tensor value, int kernel_size, int stride, int dilation,"
    " SymInt groups, SymInt heads) -> Tensor",
    tags=TAGS,
)
aggregate = torch.ops.cotnet.local_aggregation
grad_value = torch.ops.cotnet.local_aggregation_grad_value
grad_weight = torch.ops.cotnet.local_aggregation_grad_weight


def output_size(size: int, stride: int) -> int:
    """Output height or width under the zero padding of ``dilation * (kernel_size // 2)``."""
    return (size - 1) // stride + 1


def check_options(kernel_size: int, **others: int) -> None:
    """Raise ``TypeError`` or ``ValueError`` that shows which option is not what it has to be."""
    for name, number in {"kernel_size": kernel_size, **others}.items():
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"expected {name} to be an int, got {number!r}")
        if not 1 <= number < 2**63:
            raise ValueError(f"expected {name} of at least 1 and below 2**63, got {name}={number}")
    if kernel_size % 2 == 0:
        raise ValueError(f"expected an odd kernel_size, got {kernel_size=}")
    if kernel_size >= 2**28:
        raise ValueError(f"expected a kernel_size below 2**28, got {kernel_size=} with {kernel_size**2} taps")


def check_dtypes(**tensors: Tensor) -> None:
    """Raise ``TypeError`` unless all are of one dtype of ``DTYPES``."""
    dtypes = [x.dtype for x in tensors.values()]
    if dtypes[0] not in DTYPES or dtypes.count(dtypes[0]) < len(dtypes):
        raise TypeError(
            f"expected {' and '.join(tensors)} of one dtype of float32, float64, bfloat16 or float16, "
            f"got {' and '.join(map(str, dtypes))}"
        )


def check(value: Tensor, weight: Tensor, geometry: Geometry) -> None:
    """Raise ``ValueError``, or ``TypeError`` for a dtype, that shows what does not fit."""
    kernel_size, stride, dilation, groups = geometry
    check_options(kernel_size, stride=stride, dilation=dilation, groups=groups)
    if value.ndim != 4 or weight.ndim != 5:
        raise ValueError(
            "expected value [N, C, H, W] and weight [N, G, k*k, Ho, Wo], "
            f"got value {list(value.shape)} and weight {list(weight.shape)}"
        )
    check_dtypes(value=value, weight=weight)
    if value.device != weight.device:
        raise ValueError(f"expected value and weight on one device, got {value.device} and {weight.device}")
    batch, channels, height, width = value.shape
    heads = weight.shape[1]
    if heads < 1 or channels < 1 or channels % heads or heads % groups:
        raise ValueError(
            "expected the channels to be a multiple of the heads, and the heads of the groups, "
            f"got {channels=}, {heads=}, {groups=}"
        )
    if height < 1 or width < 1:
        raise ValueError(f"expected a value of at least 1 x 1, got {list(value.shape)}")
    taps, size = geometry.taps, (output_size(height, stride), output_size(width, stride))
    if weight.shape[0] != batch or weight.shape[2] != taps or weight.shape[3] != size[0] or weight.shape[4] != size[1]:
        raise ValueError(
            f"expected weight {[batch, heads, taps, *size]} for value {list(value.shape)} "
            f"with {kernel_size=}, {stride=}, {dilation=}, got {list(weight.shape)}"
        )


def check_aggregate(value: Tensor, weight: Tensor, geometry: Geometry) -> None:
    """``check`` for the arguments of the named op, which nobody has checked."""
    check(value, weight, geometry)
    _representable(value.shape)
    _representable(weight.shape)


def check_grad_value(grad_out: Tensor, weight: Tensor, geometry: Geometry, height: int, width: int) -> None:
    """``check`` for the arguments of the gradient of the value."""
    _check_grad_out(grad_out, height, width, geometry)
    value = grad_out.new_empty(1).expand(_representable((*grad_out.shape[:2], height, width)))
    check(value, weight, geometry)
    _representable(weight.shape)


def check_grad_weight(grad_out: Tensor, value: Tensor, geometry: Geometry, heads: int) -> None:
    """``check`` for the arguments of the gradient of the weight."""
    if value.ndim != 4:
        raise ValueError(f"expected value [N, C, H, W], got {list(value.shape)}")
    _check_grad_out(grad_out, value.shape[2], value.shape[3], geometry)
    if grad_out.shape[:2] != value.shape[:2]:
        raise ValueError(
            f"expected grad_out and value of one batch and channels, got {list(grad_out.shape)} and {list(value.shape)}"
        )
    if grad_out.dtype != value.dtype:
        raise TypeError(f"expected grad_out and value of one dtype, got {grad_out.dtype} and {value.dtype}")
    if grad_out.device != value.device:
        raise ValueError(f"expected grad_out and value on one device, got {grad_out.device} and {value.device}")
    if heads < 1:
        raise ValueError(f"expected at least one head, got {heads=}")
    _representable(value.shape)
    weight = value.new_empty(1).expand(_representable((value.shape[0], heads, geometry.taps, *grad_out.shape[2:])))
    check(value, weight, geometry)


def _check_grad_out(grad_out: Tensor, height: int, width: int, geometry: Geometry) -> None:
    kernel_size, stride = geometry.kernel_size, geometry.stride
    if kernel_size < 1 or stride < 1 or height < 1 or width < 1:
        raise ValueError(f"expected sizes of at least 1, got {kernel_size=}, {stride=}, {height=}, {width=}")
    size = (output_size(height, stride), output_size(width, stride))
    if grad_out.ndim != 4 or tuple(grad_out.shape[2:]) != size:
        raise ValueError(
            f"expected grad_out [N, C, {size[0]}, {size[1]}] for {height=}, {width=}, {stride=}, "
            f"got {list(grad_out.shape)}"
        )


def _representable(shape: Sequence[int]) -> Sequence[int]:
    """The shape, if its elements are fewer than 2**57: its products stay within 64 bits in the kernels and in torch."""
    if math.prod(max(size, 1) for size in shape) >= 2**57:
        raise ValueError(f"expected fewer than 2**57 elements, got a tensor of {list(shape)}")
    return shape


def empty_map(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An uninitialised [N, C, H, W] in the layout the contract gives for the map ``like``."""
    channels_last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def empty_weight(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An uninitialised [N, G, T, I, J] in the layout the contract gives for the map ``like``."""
    batch, heads, taps, out_h, out_w = shape
    return empty_map(like, (batch, heads * taps, out_h, out_w)).unflatten(1, (heads, taps))


@register_fake("local_aggregation")
def _(value: Tensor, weight: Tensor, kernel_size: int, stride: int, dilation: int, groups: int) -> Tensor:
    return empty_map(value, (*value.shape[:2], *weight.shape[3:]))


@register_fake("local_aggregation_grad_value")
def _(
    grad_out: Tensor, weight: Tensor, kernel_size: int, stride: int, dilation: int, groups: int, height: int, width: int
) -> Tensor:
    return empty_map(grad_out, (*grad_out.shape[:2], height, width))


@register_fake("local_aggregation_grad_weight")
def _(grad_out: Tensor, value: Tensor, kernel_size: int, stride: int, dilation: int, groups: int, heads: int) -> Tensor:
    return empty_weight(value, (value.shape[0], heads, kernel_size * kernel_size, *grad_out.shape[2:]))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, second, *ctx.options = inputs
    ctx.save_for_backward(first, second)


def _aggregate_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (value, weight), options = ctx.saved_tensors, ctx.options
    by_value = grad_value(grad, weight, *options, *value.shape[2:]) if ctx.needs_input_grad[0] else None
    by_weight = grad_weight(grad, value, *options, weight.shape[1]) if ctx.needs_input_grad[1] else None
    return by_value, by_weight, *[None] * 4


def _grad_value_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (grad_out, weight), options = ctx.saved_tensors, ctx.options[:4]
    by_grad_out = aggregate(grad, weight, *options) if ctx.needs_input_grad[0] else None
    by_weight = grad_weight(grad_out, grad, *options, weight.shape[1]) if ctx.needs_input_grad[1] else None
    return by_grad_out, by_weight, *[None] * 6


def _grad_weight_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (grad_out, value), options = ctx.saved_tensors, ctx.options[:4]
    by_grad_out = aggregate(value, grad, *options) if ctx.needs_input_grad[0] else None
    by_value = grad_value(grad_out, grad, *options, *value.shape[2:]) if ctx.needs_input_grad[1] else None
    return by_grad_out, by_value, *[None] * 5


for _op, _backward in (
    ("local_aggregation", _aggregate_backward),
    ("local_aggregation_grad_value", _grad_value_backward),
    ("local_aggregation_grad_weight", _grad_weight_backward),
):
    torch.library.register_autograd(f"cotnet::{_op}", _backward, setup_context=_save, lib=LIBRARY)


@register_flop_formula([aggregate])
def _(value: Any, weight: Any, kernel_size: int, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _flops(out_shape, kernel_size)


@register_flop_formula([grad_value, grad_weight])
def _(grad_out: Any, other: Any, kernel_size: int, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _flops(grad_out, kernel_size)


def _flops(output_map: Any, kernel_size: int) -> int:
    """A multiplication and an addition for each tap of each element of the [N, C, I, J] map."""
    batch, channels, out_h, out_w = output_map
    return 2 * batch * channels * out_h * out_w * kernel_size * kernel_size
