"""Spatial mixers: modules that stand in place of a 3x3 convolution."""

from cotnet.layers.cot import CoTLayer, CoXtLayer
from cotnet.layers.se_conv import SEConv

__all__ = ["CoTLayer", "CoXtLayer", "SEConv"]
