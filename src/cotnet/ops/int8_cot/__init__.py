"""A CoT layer with bytes for maps, for inference on CPUs, in one operator."""

from cotnet.ops.int8_cot.api import int8_cot
from cotnet.ops.int8_cot.contract import CoTScales, IntegerConv

__all__ = ["CoTScales", "IntegerConv", "int8_cot"]
