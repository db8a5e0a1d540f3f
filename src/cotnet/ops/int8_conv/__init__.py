"""A convolution of bytes in integers, for inference on CPUs."""

from cotnet.ops.int8_conv.api import int8_conv, int8_conv_to_float
from cotnet.ops.int8_conv.contract import ConvGeometry, Requantization

__all__ = ["ConvGeometry", "Requantization", "int8_conv", "int8_conv_to_float"]
