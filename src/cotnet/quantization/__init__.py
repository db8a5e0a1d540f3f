"""Networks of bytes for inference on CPUs: post-training quantization of activations to uint8 and weights to int8."""

from cotnet.quantization.api import QuantizationReport, quantize
from cotnet.quantization.saved import restore, save_quantized

__all__ = ["QuantizationReport", "quantize", "restore", "save_quantized"]
