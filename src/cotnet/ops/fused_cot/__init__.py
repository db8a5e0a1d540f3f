"""A CoT layer for inference in one operator: all of it, or what follows the static context."""

from cotnet.ops.fused_cot.api import fused_context, fused_cot
from cotnet.ops.fused_cot.contract import ContextParameters, Projections, StaticConv
from cotnet.ops.panels import PANEL, pack, unpack

__all__ = ["PANEL", "ContextParameters", "Projections", "StaticConv", "fused_context", "fused_cot", "pack", "unpack"]
