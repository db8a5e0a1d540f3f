"""Detection and instance segmentation: pyramids on any backbone, plain and cascade heads, COCO data and scores."""

from cotnet.detection.cascade import CascadeRoIHeads
from cotnet.detection.coco.annotations import CocoAnnotations, read_coco
from cotnet.detection.coco.dataset import CocoDataset
from cotnet.detection.coco.module import CocoData
from cotnet.detection.load import load_detector
from cotnet.detection.module import Detector
from cotnet.detection.networks import DETECTORS, create_detector
from cotnet.detection.pyramid import PyramidBackbone, create_body
from cotnet.detection.scores import Precision, average_precision

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
