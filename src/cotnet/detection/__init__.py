"""Detection and instance segmentation: pyramids on any backbone, plain and cascade heads, COCO data and scores."""

from cotnet.detection.backbone import PyramidBackbone, create_body
from cotnet.detection.cascade import CascadeRoIHeads
from cotnet.detection.coco import CocoAnnotations, CocoPictures, read_coco
from cotnet.detection.data import CocoData
from cotnet.detection.detector import DETECTORS, create_detector
from cotnet.detection.module import Detector
from cotnet.detection.scores import Precision, average_precision
from cotnet.detection.segmenter import Segmenter
from cotnet.detection.semantic import create_segmenter
from cotnet.detection.weights import load_detector

__all__ = [
    "DETECTORS",
    "CascadeRoIHeads",
    "CocoAnnotations",
    "CocoData",
    "CocoPictures",
    "Detector",
    "Precision",
    "PyramidBackbone",
    "Segmenter",
    "average_precision",
    "create_body",
    "create_detector",
    "create_segmenter",
    "load_detector",
    "read_coco",
]
