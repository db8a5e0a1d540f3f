"""Detection and instance segmentation: pyramids on any backbone, plain and cascade heads, COCO data and scores."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cotnet.detection.cascade import CascadeRoIHeads
from cotnet.detection.coco.annotations import CocoAnnotations
from cotnet.detection.coco.dataset import CocoDataset
from cotnet.detection.coco.reader import read_coco
from cotnet.detection.load import load_detector
from cotnet.detection.networks import DETECTORS, create_detector
from cotnet.detection.pyramid import PyramidBackbone, create_body
from cotnet.detection.scores import Precision, average_precision

if TYPE_CHECKING:
    from cotnet.detection.coco.module import CocoData
    from cotnet.detection.module import Detector

# Loaded on first use: prediction needs no Lightning.
_MODULES = {"CocoData": "coco.module", "Detector": "module"}

__all__ = [
    "DETECTORS",
    "CascadeRoIHeads",
    "CocoAnnotations",
    "CocoData",
    "CocoDataset",
    "Detector",
    "Precision",
    "PyramidBackbone",
    "average_precision",
    "create_body",
    "create_detector",
    "load_detector",
    "read_coco",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"cotnet.detection.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
