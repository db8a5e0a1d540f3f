"""Local aggregation: every position filters its window with a kernel of its own, shared by several channels."""

from cotnet.ops.local_aggregation.interface import local_aggregation

__all__ = ["local_aggregation"]
