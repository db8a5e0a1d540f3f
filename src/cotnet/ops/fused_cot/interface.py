"""The choice between the implementations of the fused CoT layer."""

from torch import Tensor

from cotnet.ops.fused_cot import contract, native, reference, triton
from cotnet.ops.fused_cot.contract import ContextParameters, Projections, StaticConv
from cotnet.ops.local_aggregation.interface import exporting


def _portable_context(
    attention: Tensor,
    value: Tensor,
    static_context: Tensor,
    parameters: list[Tensor],
    eps: float,
    kernel_size: int,
    dilation: int,
    groups: int,
) -> Tensor:
    tail = ContextParameters(*parameters)
    contract.check_context(attention, value, static_context, tail, kernel_size, dilation, groups)
    return reference.context(attention, value, static_context, tail, eps, kernel_size, dilation, groups)


def _portable_cot(
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
    contract.check_cot(x, static, convolutions, tail, kernel_size, dilation, groups)
    still = reference.static_context(x, static)
    attention, value = reference.project(x, still, convolutions, groups)
    return reference.context(attention, value, still, tail, eps, kernel_size, dilation, groups)


contract.LIBRARY.impl("fused_context", _portable_context, "CompositeExplicitAutograd")
contract.LIBRARY.impl("fused_cot", _portable_cot, "CompositeExplicitAutograd")
contract.LIBRARY.impl("fused_context", native.context, "CPU")
contract.LIBRARY.impl("fused_cot", native.cot, "CPU")
contract.LIBRARY.impl("fused_context", triton.context, "CUDA")
contract.LIBRARY.impl("fused_cot", triton.cot, "CUDA")


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
        parameters: of all that follows.
        eps: of the attention's norm.
        kernel_size: odd window size k.
        dilation: step between the cells of a window.
        groups: independent parts of channels and maps.

    Returns:
        [N, C, H, W], channels_last. It has no gradient.

    Raises:
        ValueError: sizes that do not fit.
        TypeError: different dtypes.
    """
    if exporting():
        return reference.context(attention, value, static_context, parameters, eps, kernel_size, dilation, groups)
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
    """A CoT layer's output from its input, and its static context or the convolution of that; see `fused_context`.

    Where the native kernel can make all of it itself (float32 on a CPU), this is one operator; elsewhere the
    convolutions are of their own, which a compiler sees.
    """
    if not exporting() and native.makes_projections(x):
        static, static_groups = contract.static_arguments(static_context)
        lists = static, static_groups, list(projections), parameters.tensors()
        return contract.cot(x, *lists, eps, kernel_size, dilation, groups)
    still = reference.static_context(x, static_context)
    attention, value = reference.project(x, still, projections, groups)
    return fused_context(attention, value, still, parameters, eps, kernel_size, dilation=dilation, groups=groups)
