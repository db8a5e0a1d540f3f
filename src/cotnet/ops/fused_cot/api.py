"""``fused_cot`` and ``fused_context``, and the choice between their implementations.

Legend: N batch, C channels, G heads, T taps = k * k, H x W size.
"""

from types import ModuleType

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from cotnet.ops.dispatch import exporting, transformed
from cotnet.ops.fused_cot import contract, native, reference, triton
from cotnet.ops.fused_cot.contract import ContextParameters, Projections, StaticConv
from cotnet.ops.library import LIBRARY
from cotnet.ops.local_aggregation.contract import Geometry


def register(implementation: ModuleType, key: str, *, allow_override: bool = False) -> None:
    """Register an implementation of the two named ops, whose schemas are flat, at a dispatch key of torch.

    Args:
        implementation: A module with ``context`` and ``cot``.
        key: The dispatch key, such as ``"CPU"``.
        allow_override: Take the place of the implementation that the key has.
    """

    def context(
        attention: Tensor,
        value: Tensor,
        static_context: Tensor,
        parameters: list[Tensor],
        eps: float,
        kernel_size: int,
        dilation: int,
        groups: int,
    ) -> Tensor:
        tail, geometry = ContextParameters(*parameters), Geometry(kernel_size, dilation=dilation, groups=groups)
        contract.check_context(attention, value, static_context, tail, geometry)
        return implementation.context(attention, value, static_context, tail, eps, geometry)

    def cot(
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
        static = contract.static_of(static_context, static_groups)
        convolutions, tail = Projections(*projections), ContextParameters(*parameters)
        geometry = Geometry(kernel_size, dilation=dilation, groups=groups)
        contract.check_cot(x, static, convolutions, tail, geometry)
        return implementation.cot(x, static, convolutions, tail, eps, geometry)

    LIBRARY.impl("fused_context", context, key, allow_override=allow_override)
    LIBRARY.impl("fused_cot", cot, key, allow_override=allow_override)


register(reference, "CompositeExplicitAutograd")
register(native, "CPU")
register(triton, "CUDA")


def fused_context(
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    parameters: ContextParameters,
    eps: float,
    kernel_size: int,
    *,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """A CoT layer's output from its attention, value and static context, for inference.

    Args:
        attention: [N, T * G, H, W], before its norm, its channels as [groups][T][G / groups].
        value: [N, C, H, W].
        static_context: [N, C, H, W].
        parameters: Those of all that follows.
        eps: Of the attention's norm.
        kernel_size: Odd window size k.
        dilation: Distance between neighbouring cells of a window.
        groups: Number of independent groups of channels and heads.

    Returns:
        [N, C, H, W], channels_last. It has no gradient.

    Raises:
        ValueError: Sizes that do not fit.
        TypeError: Different dtypes.
        RuntimeError: A gradient or a transform is wanted.
    """
    _refuse_gradients(attention, value, static_context)
    if exporting():
        geometry = Geometry(kernel_size, dilation=dilation, groups=groups)
        return reference.context(attention, value, static_context, parameters, eps, geometry)
    return contract.context(attention, value, static_context, parameters.tensors(), eps, kernel_size, dilation, groups)


def fused_cot(
    x: Tensor,
    static_context: Tensor | StaticConv,
    projections: Projections,
    parameters: ContextParameters,
    eps: float,
    kernel_size: int,
    *,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """A CoT layer's output from its input, and its static context or the convolution that makes it.

    Where the native kernel serves (float32 on a CPU), this is one operator; elsewhere the convolutions are separate
    operators, which a compiler sees.

    Args:
        x: [N, C, H, W].
        static_context: [N, C, H, W], or the convolution that makes it from ``x``.
        projections: The 1x1 convolutions that make the attention and the value.
        parameters: Those of all that follows.
        eps: Of the attention's norm.
        kernel_size: Odd window size k.
        dilation: Distance between neighbouring cells of a window.
        groups: Number of independent groups of channels and heads.

    Returns:
        [N, C, H, W], channels_last. It has no gradient.

    Raises:
        ValueError: Sizes that do not fit.
        TypeError: Different dtypes.
        RuntimeError: A gradient or a transform is wanted.
    """
    if has_torch_function_unary(x):
        arguments = x, static_context, projections, parameters, eps, kernel_size
        return handle_torch_function(fused_cot, (x,), *arguments, dilation=dilation, groups=groups)
    _refuse_gradients(x)
    if not exporting() and native.unavailable(x) is None:
        static, static_groups = contract.static_arguments(static_context)
        lists = static, static_groups, list(projections), parameters.tensors()
        return contract.cot(x, *lists, eps, kernel_size, dilation, groups)
    static_map = reference.static_context(x, static_context)
    attention, value = reference.project(x, static_map, projections, groups)
    return fused_context(attention, value, static_map, parameters, eps, kernel_size, dilation=dilation, groups=groups)


def _refuse_gradients(*maps: Tensor) -> None:
    if transformed() or (torch.is_grad_enabled() and any(x.requires_grad for x in maps)):
        raise RuntimeError(
            "a fused CoT layer has no gradients and no transforms; use the network that it was made from"
        )
