"""How every operator chooses between its implementations.

An implementation says by ``unavailable(...)`` why it cannot serve such arguments, or returns None where it can.
"""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.autograd import forward_ad

Impl = Literal["auto", "native", "triton", "reference"]


def wants_reference(impl: Impl, x: Tensor, unavailable: Mapping[str, Callable[[Tensor], str | None]]) -> bool:
    """Whether to call the reference formulation rather than the named op, which has one implementation per device.

    Args:
        impl: What the caller asks for; anything but ``"auto"`` is served as asked or refused.
        x: A tensor of the call.
        unavailable: For each implementation, the function that says why it cannot serve such a tensor.

    Raises:
        ValueError: A name that is none of the implementations'.
        RuntimeError: The implementation cannot serve such tensors; the message has the reason.
    """
    if impl not in get_args(Impl):
        raise ValueError(f"expected impl 'auto', 'native', 'triton' or 'reference', got {impl!r}")
    in_transform = transformed()
    if impl in unavailable:
        reason = unavailable[impl](x)
        if reason is None and in_transform:
            reason = "the transforms of torch.func and forward-mode derivatives need impl='reference'"
        if reason is not None:
            raise RuntimeError(f"{impl=} is not available: {reason}")
    # An exported program holds standard operators only, so that it runs where this package is not installed.
    return impl == "reference" or in_transform or exporting()


@torch.compiler.assume_constant_result  # a compiler enters the transforms that it traces, so it asks while in them
def transformed() -> bool:
    """Whether a transform of torch.func or a level of forward mode is active, which named ops do not take part in."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def autocast(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the dtype of the autocast region, as a convolution takes them; outside one, as they are."""
    device = first.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device) and first.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        return first.to(dtype), second.to(dtype)
    return first, second


# torch before 2.7 does not distinguish an export from a compilation: both then use the standard operators.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def exporting() -> bool:
    """Whether a program is being exported, which must hold standard operators only."""
    return _is_exporting() or torch.onnx.is_in_onnx_export()
