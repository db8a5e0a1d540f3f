"""Local similarity: the dot products of each query with the keys in its window."""

from cotnet.ops.local_similarity.api import local_similarity

__all__ = ["local_similarity"]
