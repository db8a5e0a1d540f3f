"""Local aggregation in float64 as the judge of an implementation: cases, layouts, and a tolerance that is derived."""

from types import ModuleType

import torch
from torch import Tensor

from cotnet.ops.local_aggregation import contract, reference
from cotnet.ops.local_aggregation.contract import Geometry

# Roundings of the storage type on the way out, and of the accumulator: sums of at most 25 * 8 products.
EPSILON = {torch.float32: 2**-23, torch.float64: 2**-52, torch.bfloat16: 2**-23, torch.float16: 2**-23}


def contiguous(x: Tensor) -> Tensor:
    return x.contiguous()


def channels_last(x: Tensor) -> Tensor:
    if x.ndim == 4:
        return x.contiguous(memory_format=torch.channels_last)
    return x.flatten(1, 2).contiguous(memory_format=torch.channels_last).unflatten(1, x.shape[1:3])


def channels_innermost(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def sliced(x: Tensor) -> Tensor:
    larger = x.new_full([size + 2 for size in x.shape], float("nan"))
    middle = larger[(slice(1, -1),) * x.ndim]
    middle.copy_(x)
    return middle


def sliced_channels_last(x: Tensor) -> Tensor:
    larger = channels_last(torch.cat([x, x.new_full(x.shape, float("nan"))], 1))
    return larger[:, : x.shape[1]]


def every_other(x: Tensor) -> Tensor:
    return torch.stack([x, x.new_full(x.shape, float("nan"))], -1)[..., 0]


def permuted(x: Tensor) -> Tensor:
    order = list(reversed(range(x.ndim)))
    return x.permute(order).contiguous().permute(order)


LAYOUTS = (contiguous, channels_last, channels_innermost, sliced, sliced_channels_last, every_other, permuted)
#        N, B, G/B,S, H, W, k, s, d
CASES = [
    (2, 1, 8, 8, 7, 13, 3, 1, 1),
    (1, 1, 16, 2, 13, 3, 3, 1, 1),
    (2, 2, 8, 3, 3, 7, 3, 1, 1),
    (1, 1, 3, 5, 7, 7, 3, 2, 1),
    (2, 1, 20, 2, 2, 13, 3, 1, 2),
    (1, 2, 1, 7, 13, 1, 5, 3, 1),
    (2, 1, 1, 33, 7, 2, 5, 1, 2),
    (1, 3, 4, 4, 1, 1, 3, 1, 1),
    (1, 1, 8, 2, 7, 33, 7, 2, 3),
    (1, 2, 32, 3, 3, 5, 3, 1, 1),
    (2, 1, 2, 3, 2, 3, 1, 2, 1),
    (1, 1, 4, 4, 3, 5, 3, 1, 10**12),
    (1, 1, 4, 4, 3, 5, 3, 10**12, 1),
    (0, 1, 4, 4, 3, 5, 3, 1, 1),
]


def check_case(
    implementation: ModuleType,
    case: tuple[int, ...],
    dtype: torch.dtype,
    layouts: tuple,
    groups: int | None = None,
    ulps: float = 0.5,
) -> None:
    """Whether the three ops equal the reference in float64, up to the roundings that an exact computation needs.

    Args:
        implementation: the module with the three ops.
        case: batch, groups, heads of a group, channels that share a head, height, width, kernel_size, stride, dilation.
        dtype: of the tensors.
        layouts: of the value, the weight and the gradient of the output.
        groups: other than the case's.
        ulps: how far the rounding to a 16-bit type may be off, in units of its last place.
    """
    batch, case_groups, heads_of_group, sharing, height, width, k, stride, dilation = case
    heads = case_groups * heads_of_group
    channels = heads * sharing
    out_h, out_w = contract.output_size(height, stride), contract.output_size(width, stride)
    torch.manual_seed(0)
    value = layouts[0](torch.randn(batch, channels, height, width).to(dtype))
    weight = layouts[1](torch.randn(batch, heads, k * k, out_h, out_w).to(dtype))
    grad = layouts[2](torch.randn(batch, channels, out_h, out_w).to(dtype))
    # Beyond the image all distances are alike; the reference would pad by them.
    geometry = Geometry(k, stride, dilation, groups or case_groups)
    near = geometry._replace(stride=min(stride, 40), dilation=min(dilation, 40))
    arguments = {
        "aggregate": ((value, weight), ()),
        "aggregate_grad_value": ((grad, weight), (height, width)),
        "aggregate_grad_weight": ((grad, value), (heads,)),
    }
    for op, (tensors, sizes) in arguments.items():
        actual = getattr(implementation, op)(*tensors, geometry, *sizes)
        double = [x.double() for x in tensors]
        exact = getattr(reference, op)(*double, near, *sizes)
        magnitude = getattr(reference, op)(*[x.abs() for x in double], near, *sizes)
        terms = k * k if op != "aggregate_grad_weight" else sharing
        # float16 holds nothing between its smallest subnormals.
        tolerance = (
            (terms + 1) * EPSILON[dtype] * magnitude + torch.finfo(dtype).eps * ulps * exact.abs() * 1.01 + 2**-25
        )
        if dtype == torch.float64:
            tolerance = (terms + 1) * 2 * EPSILON[dtype] * magnitude
        message = f"{op} {case} {dtype} {[x.__name__ for x in layouts]}"
        assert actual.dtype == dtype, message
        assert ((actual.double() - exact).abs() <= tolerance).all(), message
