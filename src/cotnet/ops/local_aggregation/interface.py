"""`local_aggregation`, the public function, and the choice between its implementations."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.autograd import forward_ad

from cotnet.ops.local_aggregation import contract, native, reference, triton

contract.LIBRARY.impl("local_aggregation", reference.aggregate, "CompositeExplicitAutograd")
contract.LIBRARY.impl("local_aggregation_grad_value", reference.aggregate_grad_value, "CompositeExplicitAutograd")
contract.LIBRARY.impl("local_aggregation_grad_weight", reference.aggregate_grad_weight, "CompositeExplicitAutograd")
contract.LIBRARY.impl("local_aggregation", native.aggregate, "CPU")
contract.LIBRARY.impl("local_aggregation_grad_value", native.aggregate_grad_value, "CPU")
contract.LIBRARY.impl("local_aggregation_grad_weight", native.aggregate_grad_weight, "CPU")
contract.LIBRARY.impl("local_aggregation", triton.aggregate, "CUDA")
contract.LIBRARY.impl("local_aggregation_grad_value", triton.aggregate_grad_value, "CUDA")
contract.LIBRARY.impl("local_aggregation_grad_weight", triton.aggregate_grad_weight, "CUDA")

Impl = Literal["auto", "native", "triton", "reference"]


def local_aggregation(
    value: Tensor,
    weight: Tensor,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    grouping: Literal["interleaved", "contiguous"] = "interleaved",
    groups: int = 1,
    impl: Impl = "auto",
) -> Tensor:
    """Filter each position of `value` with a small kernel of its own, shared by several channels.

    `y[n, c, i, j] = sum over u, v < k of w[n, m(c), u*k + v, i, j] * value[n, c, i*s - p + u*d, j*s - p + v*d]` with
    stride `s`, dilation `d`, `p = d * (k // 2)` and zeros outside the image: a correlation, not flipped, not
    normalised.

    Args:
        value: [N, C, H, W] of float32, float64, bfloat16 or float16, on any device, contiguous or channels_last.
        weight: [N, G, k*k, Ho, Wo] with `Ho = (H - 1) // stride + 1`, of the dtype and on the device of `value`; under
            autocast both are cast to its dtype, as a convolution's arguments are.
        kernel_size: odd window size k.
        stride: step between output positions.
        dilation: step between the cells of a window.
        grouping: which map a channel uses. `"interleaved"`: `m(c) = c mod G`, as CoT; `"contiguous"`:
            `m(c) = c // (C / G)`, as ordinary attention heads.
        groups: divide channels and maps into this many independent parts, as in a grouped convolution; CoXt uses 2.
        impl: `"reference"` asks for plain PyTorch, `"native"` for the C++ kernels on the CPU, `"triton"` for the Triton
            kernels on a GPU; `"auto"` takes the best that the device has.

    Returns:
        [N, C, Ho, Wo]; channels_last where `value` is, else contiguous. 16-bit types accumulate in float32.

    Raises:
        ValueError: sizes that do not fit, or an option out of its range.
        TypeError: a dtype that is none of these, or two different ones outside autocast.
        RuntimeError: `impl="native"` or `"triton"` where those kernels cannot serve, with the reason.

    Source:
        The aggregation of section 3.2 in *Contextual Transformer Networks for Visual Recognition*, arXiv 2107.12292.
    """
    if grouping not in ("interleaved", "contiguous"):
        raise ValueError(f"expected grouping 'interleaved' or 'contiguous', got {grouping!r}")
    value, weight = autocast(value, weight)
    contract.check(value, weight, kernel_size, stride, dilation, groups)
    blocks = groups if grouping == "interleaved" else weight.shape[1]
    run = reference.aggregate if takes_reference(impl, value) else contract.aggregate
    return run(value, weight, kernel_size, stride, dilation, blocks)


def takes_reference(impl: Impl, x: Tensor) -> bool:
    """Whether the reference formulation is wanted rather than the named op, which has one implementation a device.

    Raises:
        ValueError: a name that is none of the implementations'.
        RuntimeError: the implementation cannot serve such tensors, with the reason.
    """
    if impl not in get_args(Impl):
        raise ValueError(f"expected impl 'auto', 'native', 'triton' or 'reference', got {impl!r}")
    explicit = {"native": native, "triton": triton}.get(impl)
    under_transform = transformed()
    if explicit is not None:
        reason = explicit.unavailable(x.device, x.dtype)
        if reason is None and under_transform:
            reason = "the transforms of torch.func and forward-mode derivatives need impl='reference'"
        if reason is not None:
            raise RuntimeError(f"{impl=} is not available: {reason}")
    # An exported program holds standard operators only, so that it runs where this package is not installed.
    return impl == "reference" or under_transform or exporting()


@torch.compiler.assume_constant_result  # a compiler enters the transforms that it traces, so it asks while in them
def transformed() -> bool:
    """Whether a transform of torch.func or a level of forward mode is active, which named ops do not take part in."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def autocast(value: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the dtype of the autocast region, as a convolution takes them; outside one, as they are."""
    device = value.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device) and value.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        return value.to(dtype), weight.to(dtype)
    return value, weight


# Before torch 2.7 an export could not be told from a compilation: both then take the standard operators.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def exporting() -> bool:
    """Whether a program is being exported, which shall hold standard operators alone."""
    return _is_exporting() or torch.onnx.is_in_onnx_export()
