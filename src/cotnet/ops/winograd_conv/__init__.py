"""3x3 convolution by minimal filtering, or directly where groups are narrow, for inference on CPUs."""

from cotnet.ops.winograd_conv.contract import check, is_narrow, transform
from cotnet.ops.winograd_conv.interface import winograd_conv

__all__ = ["check", "is_narrow", "transform", "winograd_conv"]
