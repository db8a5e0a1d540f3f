"""The choice between the implementations of the convolution in integers."""

from torch import Tensor

from cotnet.ops.dispatch import exporting
from cotnet.ops.int8_conv import contract, native, reference
from cotnet.ops.int8_conv.contract import ConvGeometry, Requantization


def _portable_conv(x, weight, bias, multiplier, skip, kernel_size, stride, padding, dilation, groups, *requantization):
    geometry = ConvGeometry(kernel_size, stride, padding, dilation, groups)
    contract.check(x, weight, bias, multiplier, skip, geometry)
    return reference.conv(x, weight, bias, multiplier, skip, geometry, Requantization(*requantization))


def _portable_conv_to_float(x, weight, bias, multiplier, kernel_size, stride, padding, dilation, groups, in_zero):
    geometry = ConvGeometry(kernel_size, stride, padding, dilation, groups)
    contract.check(x, weight, bias, multiplier, None, geometry)
    return reference.conv_to_float(x, weight, bias, multiplier, geometry, in_zero)


def _native_conv(x, weight, bias, multiplier, skip, kernel_size, stride, padding, dilation, groups, *requantization):
    geometry = ConvGeometry(kernel_size, stride, padding, dilation, groups)
    return native.conv(x, weight, bias, multiplier, skip, geometry, Requantization(*requantization))


def _native_conv_to_float(x, weight, bias, multiplier, kernel_size, stride, padding, dilation, groups, in_zero):
    geometry = ConvGeometry(kernel_size, stride, padding, dilation, groups)
    return native.conv_to_float(x, weight, bias, multiplier, geometry, in_zero)


contract.LIBRARY.impl("int8_conv", _portable_conv, "CompositeExplicitAutograd")
contract.LIBRARY.impl("int8_conv_to_float", _portable_conv_to_float, "CompositeExplicitAutograd")
contract.LIBRARY.impl("int8_conv", _native_conv, "CPU")
contract.LIBRARY.impl("int8_conv_to_float", _native_conv_to_float, "CPU")


def int8_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    geometry: ConvGeometry,
    requantization: Requantization,
    *,
    skip: Tensor | None = None,
) -> Tensor:
    """A convolution of bytes, with a skip added and ReLU applied if asked for.

    Args:
        x: uint8 [N, C, H, W].
        weight: int8 panels, ``int8_panels.pack_bytes`` of [C_out, taps, C / groups].
        bias: int32 [C_out], with the effect of the input's zero taken off.
        multiplier: float32 [C_out], from the scale of the sums to that of the output.
        geometry: Which inputs an output takes.
        requantization: How sums become bytes.
        skip: uint8, of the output's size.

    Returns:
        uint8 [N, C_out, I, J], channels_last.

    Raises:
        ValueError: Sizes that do not fit.
        TypeError: Other dtypes.
    """
    if exporting():
        return reference.conv(x, weight, bias, multiplier, skip, geometry, requantization)
    return contract.conv(x, weight, bias, multiplier, skip, *geometry, *requantization)


def int8_conv_to_float(
    x: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, geometry: ConvGeometry, in_zero: int
) -> Tensor:
    """As ``int8_conv``, to float32 [N, C_out, I, J]; ``in_zero`` stands for 0 in the input."""
    if exporting():
        return reference.conv_to_float(x, weight, bias, multiplier, geometry, in_zero)
    return contract.conv_to_float(x, weight, bias, multiplier, *geometry, in_zero)
