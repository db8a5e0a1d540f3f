"""3x3 convolution by minimal filtering, for inference on CPUs."""

from cotnet.ops.winograd_conv.contract import transform
from cotnet.ops.winograd_conv.interface import winograd_conv

__all__ = ["transform", "winograd_conv"]
