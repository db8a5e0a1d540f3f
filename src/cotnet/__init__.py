"""Contextual Transformer Networks: exact layers, the whole family, training and deployment.

Importing this package registers the family with timm. What is done with whole networks, `load`, `predict`, `validate`,
`export` and `train`, is imported when it is used.
"""

from typing import TYPE_CHECKING, Any

from cotnet._version import __version__
from cotnet.fusing.api import fuse
from cotnet.layers import CoTLayer, CoXtLayer
from cotnet.models import convert, from_official, load_official, to_official
from cotnet.ops.local_aggregation import local_aggregation
from cotnet.ops.local_similarity import local_similarity
from cotnet.quantization import quantize

if TYPE_CHECKING:
    from cotnet.tasks import export, load, predict, train, validate

__all__ = [
    "CoTLayer",
    "CoXtLayer",
    "__version__",
    "convert",
    "export",
    "from_official",
    "fuse",
    "load",
    "load_official",
    "local_aggregation",
    "local_similarity",
    "predict",
    "quantize",
    "to_official",
    "train",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in ("export", "load", "predict", "train", "validate"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cotnet import tasks

    return getattr(tasks, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
