"""A CoT layer for inference, all that comes after its static context, in one operator."""

from cotnet.ops.fused_cot.contract import PANEL, ContextParameters, Projections, pack, unpack
from cotnet.ops.fused_cot.interface import fused_context, fused_cot

__all__ = ["PANEL", "ContextParameters", "Projections", "fused_context", "fused_cot", "pack", "unpack"]
