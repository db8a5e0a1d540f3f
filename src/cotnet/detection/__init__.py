"""Detection and instance segmentation: pyramids on any backbone, plain and cascade heads, COCO data and scores."""

from cotnet.detection.backbone import PyramidBackbone, create_body
from cotnet.detection.cascade import CascadeRoIHeads
from cotnet.detection.coco import CocoAnnotations, CocoPictures, read_coco
from cotnet.detection.detector import DETECTORS, create_detector
from cotnet.detection.scores import Precision, average_precision

__all__ = [
    "DETECTORS",
    "CascadeRoIHeads",
    "CocoAnnotations",
    "CocoPictures",
    "Precision",
    "PyramidBackbone",
    "average_precision",
    "create_body",
    "create_detector",
    "read_coco",
]
