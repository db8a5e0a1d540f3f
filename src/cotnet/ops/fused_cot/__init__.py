"""A CoT layer for inference, all of it or what comes after its static context, in one operator."""

from cotnet.ops.fused_cot.contract import ContextParameters, Projections, StaticConv
from cotnet.ops.fused_cot.interface import fused_context, fused_cot
from cotnet.ops.panels import PANEL, pack, unpack

__all__ = ["PANEL", "ContextParameters", "Projections", "StaticConv", "fused_context", "fused_cot", "pack", "unpack"]
