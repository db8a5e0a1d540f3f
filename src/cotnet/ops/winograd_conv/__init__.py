"""3x3 convolution for inference on CPUs: by minimal filtering, or directly where groups are narrow."""

from cotnet.ops.winograd_conv.api import winograd_conv
from cotnet.ops.winograd_conv.contract import check, is_narrow, transform

__all__ = ["check", "is_narrow", "transform", "winograd_conv"]
