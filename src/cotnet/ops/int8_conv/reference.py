"""The reference implementation of the convolution in integers: plain PyTorch, any device, traceable."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cotnet.ops.int8_conv.contract import ConvGeometry, Requantization
from cotnet.ops.int8_panels import requantize, unpack_bytes


def sums(x: Tensor, weight: Tensor, bias: Tensor, geometry: ConvGeometry, in_zero: int) -> Tensor:
    """uint8 [N, C, H, W] to the sums with the bias, [N, C_out, I, J], in float64, which holds them exactly."""
    kernel_size, stride, padding, dilation, groups = geometry
    plain = unpack_bytes(weight, len(bias), geometry.taps, x.shape[1] // groups, groups)
    plain = plain.unflatten(1, kernel_size).permute(0, 3, 1, 2)
    padded = F.pad(x.double(), (padding[1], padding[1], padding[0], padding[0]), value=in_zero)
    return F.conv2d(padded, plain.double(), bias.double(), stride, 0, dilation, groups)


def conv_to_float(
    x: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, geometry: ConvGeometry, in_zero: int
) -> Tensor:
    """uint8 [N, C, H, W] to float32 [N, C_out, I, J]."""
    y = sums(x, weight, bias, geometry, in_zero).float() * multiplier[:, None, None]
    return y.contiguous(memory_format=torch.channels_last)


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    skip: Tensor | None,
    geometry: ConvGeometry,
    requantization: Requantization,
) -> Tensor:
    """uint8 [N, C, H, W] to uint8 [N, C_out, I, J]."""
    y = conv_to_float(x, weight, bias, multiplier, geometry, requantization.in_zero)
    if skip is not None:
        # In float32, as the kernels have it.
        factor = torch.tensor(requantization.skip_multiplier, dtype=torch.float32, device=x.device)
        y = y + (skip.float() - requantization.skip_zero) * factor
    return requantize(y, requantization.zero, requantization.lowest).contiguous(memory_format=torch.channels_last)
