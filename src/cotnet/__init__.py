"""Contextual Transformer Networks: exact layers, the whole family, training and deployment.

Importing this package registers the family with timm.
"""

from cotnet._version import __version__
from cotnet.fusing.api import fuse
from cotnet.layers import CoTLayer, CoXtLayer
from cotnet.models import convert, from_official, load_official, to_official
from cotnet.ops.local_aggregation import local_aggregation
from cotnet.ops.local_similarity import local_similarity

__all__ = [
    "CoTLayer",
    "CoXtLayer",
    "__version__",
    "convert",
    "from_official",
    "fuse",
    "load_official",
    "local_aggregation",
    "local_similarity",
    "to_official",
]
