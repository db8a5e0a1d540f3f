"""The choice between the implementations of the CoT layer with bytes for maps."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from cotnet.ops.dispatch import exporting
from cotnet.ops.fused_cot import ContextParameters
from cotnet.ops.int8_cot import contract, native, reference
from cotnet.ops.int8_cot.contract import CoTScales, IntegerConv
from cotnet.ops.local_aggregation.contract import Geometry


def _implementation(cot: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The op's flat arguments in their terms, checked."""

    def op(x: Tensor, convolutions: list[Tensor], parameters: list[Tensor], *options: Any) -> Tensor:
        *scales, eps, kernel_size, dilation, groups, static_groups = options
        convs = tuple(IntegerConv(*convolutions[i : i + 3]) for i in range(0, 12, 3))
        tail, geometry = ContextParameters(*parameters), Geometry(kernel_size, 1, dilation, groups)
        contract.check(x, convs, tail, geometry, static_groups)  # type: ignore[arg-type]
        return cot(x, convs, tail, CoTScales(*scales), eps, geometry, static_groups)

    return op


contract.LIBRARY.impl("int8_cot", _implementation(reference.cot), "CompositeExplicitAutograd")
contract.LIBRARY.impl("int8_cot", _implementation(native.cot), "CPU")


def int8_cot(
    x: Tensor,
    convolutions: tuple[IntegerConv, IntegerConv, IntegerConv, IntegerConv],
    parameters: ContextParameters,
    scales: CoTScales,
    eps: float,
    kernel_size: int,
    *,
    dilation: int = 1,
    groups: int = 1,
    static_groups: int = 1,
) -> Tensor:
    """A CoT layer of bytes, for inference.

    Args:
        x: uint8 [N, C, H, W].
        convolutions: Of the static context, [C_out, T, C / static_groups] as panels; of the hidden channels,
            [S, 2, C / B], input before static context; of the attention, [T * G, 1, S / B], its channels ordered as
            [B][T][G / B]; and of the value, [C, 1, C / B].
        parameters: Of all that follows, float32.
        scales: What the bytes stand for.
        eps: Added to the variance in the attention's norm.
        kernel_size: Odd window size k.
        dilation: Distance between neighbouring cells of a window.
        groups: Number of independent groups of channels and heads B.
        static_groups: Number of groups of the static context's convolution.

    Returns:
        uint8 [N, C, H, W], channels_last.

    Raises:
        ValueError: Sizes that do not fit.
        TypeError: Other dtypes.
    """
    if exporting():
        geometry = Geometry(kernel_size, 1, dilation, groups)
        return reference.cot(x, convolutions, parameters, scales, eps, geometry, static_groups)
    tensors = [tensor for conv in convolutions for tensor in conv]
    options = (*scales, eps, kernel_size, dilation, groups, static_groups)
    return contract.cot(x, tensors, parameters.tensors(), *options)
