"""Local aggregation: every position filters its window with its own kernel, which several channels share."""

from cotnet.ops.local_aggregation.api import local_aggregation

__all__ = ["local_aggregation"]
