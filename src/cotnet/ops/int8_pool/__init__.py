"""Maxima and averages of windows of bytes, for inference on CPUs."""

from cotnet.ops.int8_pool.api import int8_pool
from cotnet.ops.int8_pool.contract import PoolGeometry

__all__ = ["PoolGeometry", "int8_pool"]
