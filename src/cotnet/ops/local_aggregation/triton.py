"""The Triton implementation for GPUs: arguments checked here, then handed to the kernels in ``triton_kernels``.

Legend: N batch, C channels, G heads, T taps = k * k, H x W input size, I x J output size.
"""

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from cotnet.ops.library import DTYPES
from cotnet.ops.local_aggregation import contract, reference
from cotnet.ops.local_aggregation.contract import Geometry

_OLDEST_TRITON = (3, 3)
_OLDEST_NVIDIA = (7, 0)
# Below it, no offset of an element or of a cell beside the image overflows 32 bits.
FITS_32_BITS = 2**30


def unavailable(x: Tensor) -> str | None:
    """Why this implementation cannot serve such tensors, or None where it can."""
    if x.device.type != "cuda":
        return f"expected tensors on a GPU, got {x.device.type}"
    if x.dtype not in DTYPES:
        return f"expected a dtype of float32, float64, bfloat16 or float16, got {x.dtype}"
    if torch.version.hip is None and torch.cuda.get_device_capability(x.device) < _OLDEST_NVIDIA:
        return f"expected a GPU of compute capability 7.0 or newer, got {torch.cuda.get_device_name(x.device)}"
    kernels = load()
    return kernels if isinstance(kernels, str) else None


@cache
def load() -> ModuleType | str:
    """The module of the kernels, which imports Triton, or the reason why there is none."""
    try:
        import triton

        from cotnet.ops.local_aggregation import triton_kernels
    except ImportError as error:
        return f"Triton is not installed: {error}"
    if tuple(int(number) for number in triton.__version__.split(".")[:2]) < _OLDEST_TRITON:
        return f"expected Triton 3.3 or newer, got {triton.__version__}"
    return triton_kernels


def aggregate(value: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Local aggregation, [N, C, H, W] and [N, G, T, I, J] to [N, C, I, J]."""
    contract.check_aggregate(value, weight, geometry)
    if not serves(value):
        return reference.aggregate(value, weight, geometry)
    out = contract.empty_map(value, (*value.shape[:2], *weight.shape[3:]))
    launch("aggregate", value, out, weight, geometry)
    return out


def aggregate_grad_value(grad_out: Tensor, weight: Tensor, geometry: Geometry, height: int, width: int) -> Tensor:
    """Gradient of the value, [N, C, I, J] and [N, G, T, I, J] to [N, C, height, width]."""
    contract.check_grad_value(grad_out, weight, geometry, height, width)
    if not serves(grad_out):
        return reference.aggregate_grad_value(grad_out, weight, geometry, height, width)
    grad_value = contract.empty_map(grad_out, (*grad_out.shape[:2], height, width))
    launch("grad_value", grad_value, grad_out, weight, geometry)
    return grad_value


def aggregate_grad_weight(grad_out: Tensor, value: Tensor, geometry: Geometry, heads: int) -> Tensor:
    """Gradient of the weight, [N, C, I, J] and [N, C, H, W] to [N, heads, T, I, J]."""
    contract.check_grad_weight(grad_out, value, geometry, heads)
    if not serves(value):
        return reference.aggregate_grad_weight(grad_out, value, geometry, heads)
    grad_weight = contract.empty_weight(value, (value.shape[0], heads, geometry.taps, *grad_out.shape[2:]))
    launch("grad_weight", value, grad_out, grad_weight, geometry)
    return grad_weight


def serves(x: Tensor) -> bool:
    """Whether the kernels serve; where not, plain PyTorch does, and one notice says so."""
    reason = unavailable(x)
    if reason is not None:
        _notice(reason)
    return reason is None


@cache
def _notice(reason: str) -> None:
    logging.getLogger("cotnet").warning("local aggregation runs in plain PyTorch on the GPU: %s", reason)


def launch(kernel: str, value: Tensor, out: Tensor, weight: Tensor, geometry: Geometry) -> None:
    """Launch a kernel; each tensor is the argument of local aggregation or its gradient, and one of them is written."""
    batch, channels, height, width = value.shape
    heads, (out_h, out_w) = weight.shape[1], out.shape[2:]
    kernel_size, stride, dilation, groups = geometry.bounded(height, width)
    area = height * width if kernel == "grad_value" else out_h * out_w
    positions, sharing, heads_of_group = batch * area, channels // heads, heads // groups
    if min(positions, heads) == 0:
        return
    kernels = load()
    assert isinstance(kernels, ModuleType), kernels
    # Which elements of the map that is read k * k times lie side by side: positions, heads, or the channels of a head.
    read = out if kernel == "grad_value" else value
    positions_inside = read.stride(1) >= read.stride(3)
    if positions_inside:
        sharing_axis, head_axis, position_axis = 0, 1, 2
    elif heads_of_group > 1:
        sharing_axis, position_axis, head_axis = 0, 1, 2
    else:
        position_axis, head_axis, sharing_axis = 0, 1, 2
    block_sharing = min(power_of_2(sharing), 64 if sharing_axis == 2 else 8)
    sharing_blocks = 1 if kernel == "grad_weight" else -(-sharing // block_sharing)
    farthest = max(_extent(value), _extent(out), _extent(weight), positions)

    def grid(tile: dict[str, int]) -> tuple[int]:
        position_blocks, head_blocks = -(-positions // tile["BLOCK_POSITIONS"]), -(-heads // tile["BLOCK_HEADS"])
        return (position_blocks * head_blocks * sharing_blocks,)

    with torch.cuda.device_of(value):
        getattr(kernels, kernel)[grid](
            value,
            out,
            weight,
            (positions, area, heads, sharing, heads_of_group, height, width, out_h, out_w),
            (stride, dilation),
            value.stride(),
            out.stride(),
            weight.stride(),
            power_of_2(heads),
            power_of_2(positions).bit_length() // 2,
            KERNEL_SIZE=kernel_size,
            INDEX=kernels.tl.int64 if farthest * kernel_size >= FITS_32_BITS else kernels.tl.int32,
            SUM=kernels.tl.float64 if value.dtype == torch.float64 else kernels.tl.float32,
            POSITION_AXIS=position_axis,
            HEAD_AXIS=head_axis,
            SHARING_AXIS=sharing_axis,
            BLOCK_SHARING=block_sharing,
            UNROLL=kernel_size if kernel_size <= 7 else 1,
        )


def power_of_2(size: int) -> int:
    """The smallest power of two that is not below the size."""
    return 1 << (size - 1).bit_length()


def _extent(x: Tensor) -> int:
    """The distance of the last element from the first one."""
    return sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
