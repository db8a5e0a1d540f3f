"""Contextual Transformer Networks: exact layers, the whole family, training and deployment."""

from cotnet.ops.local_aggregation import local_aggregation

__all__ = ["local_aggregation"]
