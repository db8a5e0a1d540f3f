"""Floats to bytes, for inference on CPUs."""

from cotnet.ops.int8_quantize.api import int8_dequantize, int8_quantize

__all__ = ["int8_dequantize", "int8_quantize"]
