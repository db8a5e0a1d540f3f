"""The native CPU implementation, forward and backward, as one step of autograd.

It keeps its input and, for a residual, its output, which the next layer keeps anyway; the map between norm and
activation is computed again. Legend: N batch, C channels, H x W size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotnet.ops import native_library
from cotnet.ops.dispatch import transformed
from cotnet.ops.plain import is_plain_tensor

_PACK = native_library.PROBLEMS["BatchNormActProblem"].pack
# The `Activation` of native/abi.h, by name and whether there is a residual.
_ACTIVATIONS = {(None, False): 0, ("relu", False): 1, ("silu", False): 2, ("relu", True): 3}
_DTYPES = {torch.float32: 0, torch.bfloat16: 2, torch.float16: 3}


def unavailable(
    x: Tensor, residual: Tensor | None, parameters: tuple[Tensor | None, ...], act: str | None
) -> str | None:
    """Why the kernel cannot serve these, or None where it can.

    Without a second position in any channel there is no variance, which is left to PyTorch's error.
    """
    tensors = [t for t in (x, residual, *parameters) if t is not None]
    if not all(map(is_plain_tensor, tensors)) or isinstance(x, nn.Parameter):
        return "expected plain tensors whose memory holds their values"
    if x.device.type != "cpu" or x.dtype not in _DTYPES:
        return f"expected float32, bfloat16 or float16 on the cpu, got {x.dtype} on {x.device.type}"
    if x.ndim != 4 or x.numel() <= x.shape[1] or not x.is_contiguous(memory_format=torch.channels_last):
        return "expected channels_last [N, C, H, W] with at least two positions"
    if residual is not None and (residual.shape, residual.dtype, residual.device) != (x.shape, x.dtype, x.device):
        return "expected a residual of the map's shape, dtype and device"
    if (act, residual is not None) not in _ACTIVATIONS:
        return f"there is no kernel for {act} with or without a residual"
    if not all(_is_parameter(p, x.shape[1]) for p in parameters):
        return "expected contiguous float32 parameters and running statistics, one value for each channel"
    library = native_library.load()
    return library if isinstance(library, str) else None


def _is_parameter(p: Tensor | None, channels: int) -> bool:
    return (
        p is not None
        and p.dtype == torch.float32
        and p.device.type == "cpu"
        and p.shape == (channels,)
        and p.is_contiguous()
    )


class BatchNormAct(torch.autograd.Function):
    """The arguments of the reference, for which ``unavailable`` had no reason."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
        act: str | None,
    ) -> Tensor:
        """[N, C, H, W] to [N, C, H, W]; moves the running statistics."""
        if residual is not None:
            residual = residual.contiguous(memory_format=torch.channels_last)
        ctx.activation, ctx.act, ctx.eps = _ACTIVATIONS[act, residual is not None], act, eps
        out = torch.empty_like(x, memory_format=torch.channels_last)
        mean, inverse_std = torch.empty_like(weight), torch.empty_like(weight)
        statistics = (mean, inverse_std, running_mean, running_var)
        _run("batch_norm_act", ctx, x, residual, out, weight, bias, *statistics, *[None] * 5, momentum=momentum)
        ctx.save_for_backward(x, weight, bias, mean, inverse_std, None if residual is None else out)
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, residual, weight and bias; differentiable where a second backward pass is wanted."""
        x, weight, bias, mean, inverse_std, out = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed() or not is_plain_tensor(grad_out):
            return *_gradients_by_torch(ctx, grad_out, x, weight, bias, out), *[None] * 5
        grad_out = grad_out.contiguous(memory_format=torch.channels_last)
        grad_x = torch.empty_like(x, memory_format=torch.channels_last)
        grad_residual = None if out is None else torch.empty_like(grad_x)
        gradients = (grad_x, grad_residual, torch.empty_like(weight), torch.empty_like(weight))
        statistics = (mean, inverse_std, None, None)
        _run("batch_norm_act_backward", ctx, x, None, out, weight, bias, *statistics, grad_out, *gradients)
        return *gradients, *[None] * 5


def _gradients_by_torch(
    ctx: Any, grad_out: Tensor, x: Tensor, weight: Tensor, bias: Tensor, out: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The gradients by PyTorch's operators: differentiable if wanted, and for any kind of ``grad_out``."""
    act, grad_residual = ctx.act, None
    if out is not None:
        act, grad_out = None, torch.where(out > 0, grad_out, 0)
        grad_residual = grad_out
    inputs = [t for t in (x, weight, bias) if t.requires_grad]
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        y = F.batch_norm(x, None, None, weight, bias, True, 0.0, ctx.eps)
        y = F.relu(y) if act == "relu" else F.silu(y) if act == "silu" else y
        gradients = iter(torch.autograd.grad(y, inputs, grad_out, create_graph=create_graph) if inputs else ())
    by_x, by_weight, by_bias = (next(gradients) if t.requires_grad else None for t in (x, weight, bias))
    return by_x, grad_residual, by_weight, by_bias


def _run(kernel: str, ctx: Any, x: Tensor, *tensors: Tensor | None, momentum: float = 0.0) -> None:
    batch, channels, height, width = x.shape
    sizes = (_DTYPES[x.dtype], torch.get_num_threads(), ctx.activation, batch * height * width, channels)
    addresses = (0 if t is None else t.data_ptr() for t in (x, *tensors))
    problem = _PACK(*sizes, ctx.eps, momentum, *addresses)
    native_library.run(getattr(native_library.load(), kernel), problem, what="a BatchNorm", shape=x.shape)
