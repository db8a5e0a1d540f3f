"""The Triton implementation for GPUs: arguments checked here, then handed to the kernels in `triton_kernels`.

Legend: N batch, C channels, G weight maps, T taps = k * k, H x W input size, I x J output size.
"""

import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from cotnet.ops.local_aggregation import contract, reference

_OLDEST_TRITON = (3, 3)
_OLDEST_NVIDIA = (7, 0)
# Below it, no offset of an element or of a cell beside the image overflows 32 bits.
FITS_32_BITS = 2**30


def unavailable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this implementation cannot serve such tensors, or None where it can."""
    if device.type != "cuda":
        return f"expected tensors on a GPU, got {device.type}"
    if dtype not in contract.DTYPES:
        return f"expected a dtype of float32, float64, bfloat16 or float16, got {dtype}"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < _OLDEST_NVIDIA:
        return f"expected a GPU of compute capability 7.0 or newer, got {torch.cuda.get_device_name(device)}"
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


def aggregate(value: Tensor, weight: Tensor, kernel_size: int, stride: int, dilation: int, blocks: int) -> Tensor:
    """Local aggregation, [N, C, H, W] and [N, G, T, I, J] to [N, C, I, J]."""
    contract.check_aggregate(value, weight, kernel_size, stride, dilation, blocks)
    if not serves(value):
        return reference.aggregate(value, weight, kernel_size, stride, dilation, blocks)
    out = contract.empty_map(value, (*value.shape[:2], *weight.shape[3:]))
    run("aggregate", value, out, weight, kernel_size, stride, dilation, blocks)
    return out


def aggregate_grad_value(
    grad_out: Tensor,
    weight: Tensor,
    kernel_size: int,
    stride: int,
    dilation: int,
    blocks: int,
    height: int,
    width: int,
) -> Tensor:
    """Gradient of the value, [N, C, I, J] and [N, G, T, I, J] to [N, C, height, width]."""
    contract.check_grad_value(grad_out, weight, kernel_size, stride, dilation, blocks, height, width)
    if not serves(grad_out):
        return reference.aggregate_grad_value(grad_out, weight, kernel_size, stride, dilation, blocks, height, width)
    grad_value = contract.empty_map(grad_out, (*grad_out.shape[:2], height, width))
    run("grad_value", grad_value, grad_out, weight, kernel_size, stride, dilation, blocks)
    return grad_value


def aggregate_grad_weight(
    grad_out: Tensor, value: Tensor, kernel_size: int, stride: int, dilation: int, blocks: int, maps: int
) -> Tensor:
    """Gradient of the weight, [N, C, I, J] and [N, C, H, W] to [N, maps, T, I, J]."""
    contract.check_grad_weight(grad_out, value, kernel_size, stride, dilation, blocks, maps)
    if not serves(value):
        return reference.aggregate_grad_weight(grad_out, value, kernel_size, stride, dilation, blocks, maps)
    shape = (value.shape[0], maps, kernel_size * kernel_size, *grad_out.shape[2:])
    grad_weight = contract.empty_weight(value, shape)
    run("grad_weight", value, grad_out, grad_weight, kernel_size, stride, dilation, blocks)
    return grad_weight


def serves(x: Tensor) -> bool:
    """Whether the kernels serve; plain PyTorch does where not, and one notice says so."""
    reason = unavailable(x.device, x.dtype)
    if reason is not None:
        _notice(reason)
    return reason is None


@cache
def _notice(reason: str) -> None:
    logging.getLogger("cotnet").warning("local aggregation runs in plain PyTorch on the GPU: %s", reason)


def run(
    kernel: str, value: Tensor, out: Tensor, weight: Tensor, kernel_size: int, stride: int, dilation: int, blocks: int
) -> None:
    """Launch a kernel; each tensor is the argument of local aggregation or its gradient, and one of them is written."""
    batch, channels, height, width = value.shape
    maps, (out_h, out_w) = weight.shape[1], out.shape[2:]
    area = height * width if kernel == "grad_value" else out_h * out_w
    positions, sharing, maps_of_block = batch * area, channels // maps, maps // blocks
    if min(positions, maps) == 0:
        return
    kernels = load()
    assert isinstance(kernels, ModuleType), kernels
    # Which elements of the map that is read k * k times lie side by side: positions, maps, or channels that share one.
    read = out if kernel == "grad_value" else value
    positions_inside = read.stride(1) >= read.stride(3)
    if positions_inside:
        sharing_axis, map_axis, position_axis = 0, 1, 2
    elif maps_of_block > 1:
        sharing_axis, position_axis, map_axis = 0, 1, 2
    else:
        position_axis, map_axis, sharing_axis = 0, 1, 2
    block_sharing = min(power_of_2(sharing), 64 if sharing_axis == 2 else 8)
    sharing_blocks = 1 if kernel == "grad_weight" else -(-sharing // block_sharing)
    farthest = max(_extent(value), _extent(out), _extent(weight), positions)
    # Beyond the image's size neither step changes the result; bounded, no product of them overflows.
    size = max(height, width)

    def grid(tile: dict[str, int]) -> tuple[int]:
        position_blocks, map_blocks = -(-positions // tile["BLOCK_POSITIONS"]), -(-maps // tile["BLOCK_MAPS"])
        return (position_blocks * map_blocks * sharing_blocks,)

    with torch.cuda.device_of(value):
        getattr(kernels, kernel)[grid](
            value,
            out,
            weight,
            (positions, area, maps, sharing, maps_of_block, height, width, out_h, out_w),
            (min(stride, size), min(dilation, size)),
            value.stride(),
            out.stride(),
            weight.stride(),
            power_of_2(maps),
            power_of_2(positions).bit_length() // 2,
            KERNEL_SIZE=kernel_size,
            INDEX=kernels.tl.int64 if farthest * kernel_size >= FITS_32_BITS else kernels.tl.int32,
            SUM=kernels.tl.float64 if value.dtype == torch.float64 else kernels.tl.float32,
            POSITION_AXIS=position_axis,
            MAP_AXIS=map_axis,
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
